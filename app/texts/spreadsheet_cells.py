"""Cells that a spreadsheet will not run: formulas are made plain text, and given back as they were by whoever reads our files."""

from __future__ import annotations

import re
from typing import Final

# Where a program that knows neither quotation marks nor our separator sees a cell begin.
_LINE_END: Final = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_BEGINS: Final = f"[{_LINE_END};\t]"
# What stands before a formula without making it less of one: spaces, characters nobody sees, and quotation marks, which a
# program takes away that sees the cell begin there.
_BLANK: Final = (
    "[\x00-\x08\x0e-\x1b\x1f \"'\x7f\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u202a-\u202f\u205f-\u206f\u3000\ufe00-\ufe0f\ufeff]"
)
_FORMULA: Final = "[=+\\-@|%＝＋－＠]"

# Each blank is passed once for the beginning before it and never again (`*+`), however many lines there are.
_FORMULA_AT: Final = re.compile(f"{_BEGINS}(?={_BLANK}*+{_FORMULA})")
_TAB_AT: Final = re.compile(f"[{_LINE_END}](?={_BLANK}*+\t)")
_PLAIN_FORMULA: Final = re.compile(f"({_BEGINS})'(?={_BLANK}*+{_FORMULA})")
_PLAIN_TAB: Final = re.compile(f"([{_LINE_END}])'(?={_BLANK}*+\t)")


def plain_cell(text: str) -> str:
    """The text with an apostrophe before everything in it that a spreadsheet would take for a formula.

    On every line, and behind every semicolon and tab, because a program that splits the file there sees the start of a cell.
    """
    text = _FORMULA_AT.sub(_with_apostrophe, "\n" + text)  # the cell's own beginning is one like the others
    if "\t" in text:
        text = _TAB_AT.sub(_with_apostrophe, text)
    return text[1:]


def _with_apostrophe(found: re.Match[str]) -> str:
    return found.group() + "'"


def original_cell(text: str) -> str:
    """What `plain_cell` was given: an apostrophe is a blank itself, so that one is taken away wherever one was added."""
    text = _PLAIN_FORMULA.sub(r"\1", "\n" + text)
    return _PLAIN_TAB.sub(r"\1", text)[1:]
