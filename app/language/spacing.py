"""The space around what is put into a Chinese sentence, and after it.

Between its own signs Chinese has no space, between a sign and a Latin letter or a digit it has one. Which of them a name, a
number or a time will be is known when it is put in, not when the sentence is translated. A full-width stop brings its own space,
but templates set sentences apart as English does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

Words = TypeVar("Words", bound=str)  # Markup stays Markup

# No characters of any text, as Unicode says: they mark edges while a page is made, and none is left in it.
OPENED, CLOSED, SAID = "\ufdd0", "\ufdd1", "\ufdd2"

_SIGN: Final = "\u3400-\u9fff\uf900-\ufaff"
_WIDE: Final = _SIGN + "\u3000-\u303f\uff00-\uff60"
_TAGS: Final = "((?:<[^<>]*>)*)"
_BEFORE: Final = re.compile(f"([{_WIDE}])( ?){_TAGS}{OPENED}{_TAGS}(?=(.?))", re.S)
_AFTER: Final = re.compile(f"(.){_TAGS}{CLOSED}{_TAGS}( ?)(?=([{_WIDE}]))", re.S)
_MARKS: Final = re.compile(f"[{OPENED}{CLOSED}]")
_STOPS: Final = tuple("。！？：；，、）」")
_SPACE_AFTER: Final = re.compile(rf"{SAID}((?:</[a-z]+>)*)\s*")


def put(sentence: Words, values: Mapping[str, Any]) -> Words:
    """A Chinese sentence with its `%(name)s` filled in, each set apart as what is there asks for."""
    return closed(type(sentence)(sentence % {name: marked(value) for name, value in values.items()}))


def marked(value: Any) -> str:
    """A value with its edges marked, for `closed`; HTML stays HTML."""
    return OPENED + (value if isinstance(value, str) else str(value)) + CLOSED


def closed(sentence: Words) -> Words:
    """The sentence with the space that belongs at each marked edge, and no marks."""
    if OPENED not in sentence:
        return sentence
    text = _BEFORE.sub(lambda at: at[1] + _between(at[1], at[5], at[2]) + at[3] + OPENED + at[4], str(sentence))
    text = _AFTER.sub(lambda at: at[1] + at[2] + CLOSED + at[3] + _between(at[1], at[5], at[4]), text)
    return type(sentence)(_MARKS.sub("", text))


def _between(before: str, after: str, written: str) -> str:
    """What stands between two characters, where so much stood between them as it was written."""
    kinds = {_kind(before), _kind(after)}
    if kinds <= {"sign", "wide"}:
        return ""
    return " " if kinds == {"sign", "letter"} else written


def _kind(one: str) -> str:
    if re.match(f"[{_WIDE}]", one):
        return "sign" if re.match(f"[{_SIGN}]", one) else "wide"
    return "letter" if one.isalnum() else ""


def said(sentence: Words) -> Words:
    """Marks a sentence of a page that ends in a full-width stop."""
    return type(sentence)(sentence + SAID) if sentence.endswith(_STOPS) else sentence


def settled(page: str) -> str:
    """The page without the spaces that a template left after full-width stops."""
    return _SPACE_AFTER.sub(r"\1", page)
