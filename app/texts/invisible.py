"""Characters that nobody sees, by which two texts that look alike would differ."""

from __future__ import annotations

import unicodedata
from typing import Final

# Without a picture although they count as letters, marks or symbols: fillers, joiners, selectors of variants.
_UNSEEN: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | frozenset(
    chr(code) for start, end in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(start, end + 1)
)
# Controls, format characters (of no width, or turning the direction), separators, half pairs, private and unassigned ones.
_KINDS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def is_invisible(character: str) -> bool:
    return character in _UNSEEN or unicodedata.category(character) in _KINDS


def has_invisible(text: str) -> bool:
    return any(is_invisible(character) for character in text)


def shows_nothing(text: str) -> bool:
    """Whether a reader would see an empty place."""
    return all(is_invisible(character) or unicodedata.category(character).startswith("M") for character in text)
