"""Messages in the language of the source, for logs, the command line and the cards of models; and errors that say one."""

from __future__ import annotations

import math
from typing import Any

from trainer.contract.config import label_of
from trainer.contract.messages import Kind, Message, filled


class SpokenError(Exception):
    """An error for a person: what it says is a message."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return english(self.message)


def english(message: Message) -> str:
    return filled(message, lambda source: source, _shown)


def exact(number: float) -> str:
    """To its last digit: "0.01", "1,000,000"."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:.12g}"


def _shown(kind: Kind, value: Any) -> str:
    if kind == "setting":
        return label_of(value)
    if kind == "name":
        return str(value)
    if kind == "share":
        return f"{value:.0%}"
    if kind == "bound":
        return exact(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value.is_integer() or 1000 <= abs(value) < math.inf else f"{value:.3g}"
