"""What a value must be before a column takes it: pure checks, each refusal in the words of the person who gave it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from app.language.formats import number, percent, to_the_last_digit
from app.language.languages import _
from app.texts.composed import composed

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether every database can hold it: no NUL, no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


class Unusable(ValueError):
    """A value that cannot be used; its text is the sentence for the field."""


def plain_text(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise Unusable(_("This must be text."))
    if not is_storable(value):
        raise Unusable(_("This holds a character that cannot be stored."))
    if len(value) > longest:
        raise Unusable(_("This is longer than %(longest)s characters.", longest=number(longest)))
    return value


def storable(value: Any) -> Any:
    """JSON that a model or a library wrote, less the characters that no database can hold: U+FFFD stands for each."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [storable(one) for one in value]
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    return value


def without_invisible(text: str) -> str:
    """The text less the signs nobody sees: marks of joining and direction, zero-width spaces, control characters."""
    return "".join(sign for sign in text if sign.isspace() or unicodedata.category(sign) not in ("Cf", "Cc", "Cn"))


def name_digest(name: str) -> str:
    """The same for names that a person would take for one: whatever their case, width, spaces and invisible signs."""
    seen = without_invisible(unicodedata.normalize("NFKC", composed(name))).casefold()
    return hashlib.sha256(" ".join(seen.split()).encode()).hexdigest()


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Unusable(_("This must be a whole number from %(least)s to %(most)s.", least=least, most=number(most)))
        return value

    return check


def number_between(least: float, most: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not least <= value <= most:
            raise Unusable(
                _(
                    "This must be a number from %(least)s to %(most)s.",
                    least=to_the_last_digit(least),
                    most=to_the_last_digit(most),
                )
            )
        return float(value)

    return check


def share_between(least: float, most: float) -> Callable[[Any], float]:
    """A number as `number_between`, which people write and read in per cent."""

    def check(value: Any) -> float:
        if type(value) not in (int, float) or not least <= value <= most:
            raise Unusable(_("This must be a number from %(least)s to %(most)s.", least=percent(least), most=percent(most)))
        return float(value)

    return check
