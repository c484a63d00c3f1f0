"""The key of a model outside: in which variable one may stand, and what of it goes into a header. It is never said or stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from trainer.contract.english import SpokenError
from trainer.contract.messages import Message

KEY_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,79}_API_KEY")  # no other secret can be sent anywhere by naming its variable


class UnusableKey(SpokenError):
    """No header can hold what stands in the variable, which alone is named."""


def key_of(environment: Mapping[str, str], variable: str | None) -> str | None:
    """The key without the line end that a file left behind it; None where there is none. Raises UnusableKey."""
    key = environment.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()):  # else Python's refusal would repeat it, for the log and for the page
        raise UnusableKey(Message("key_unusable", variable=variable or ""))
    return key or None
