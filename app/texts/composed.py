"""Texts in the composed form of Unicode (NFC), in time that grows with the text."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

LONGEST_RUN: Final = 30  # marks on one letter; no language has as many (UAX #15, "stream-safe")


def composed(text: str) -> str:
    """The same as `unicodedata.normalize("NFC", text)`.

    That one sorts the marks on a letter by inserting one after the other: a letter with twenty thousand takes it a third of a
    second. Here they are sorted before.
    """
    if not text.isascii():
        text = _many_marks().sub(_sorted, text)
    return unicodedata.normalize("NFC", text)


def _sorted(found: re.Match[str]) -> str:
    marks = [mark for one in found.group() for mark in unicodedata.normalize("NFD", one)]
    return "".join(sorted(marks, key=unicodedata.combining))  # stable, as the order of equals is meaning


@lru_cache(maxsize=1)
def _many_marks() -> re.Pattern[str]:
    marks = (chr(code) for code in range(0x300, 0x20000) if unicodedata.combining(chr(code)))
    return re.compile(f"[{''.join(marks)}]{{{LONGEST_RUN + 1},}}")
