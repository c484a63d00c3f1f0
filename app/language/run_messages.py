"""What runs, rounds and checkpoints say, in the reader's language and with numbers as the reader writes them."""

from __future__ import annotations

from typing import Any

from app.language import formats, spacing
from app.language.languages import known, sets_apart
from trainer.contract.config import label_of
from trainer.contract.messages import Kind, Message, filled


def told(message: Message | None) -> str:
    """The message's sentence; nothing for none. What an earlier version stored, or a library said, is told as it was written."""
    if message is None:
        return ""
    if not sets_apart():
        return filled(message, known, _shown)
    return spacing.closed(filled(message, known, lambda kind, value: spacing.marked(_shown(kind, value))))


def _shown(kind: Kind, value: Any) -> str:
    if kind == "setting":
        return known(label_of(value))
    if kind == "name":
        return str(value)
    if kind == "bound":
        return formats.to_the_last_digit(value)
    return formats.percent(value) if kind == "share" else formats.number(value)
