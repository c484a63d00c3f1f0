"""CSV that a spreadsheet will not run: formulas are made plain text on every physical line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

# What a reader of text would call white space or would not see at all, before the character that counts.
_BLANK = "\\s\x00-\x20\x7f\u00ad\u200b-\u200f\u2060\ufeff"
_LINE_START = re.compile(f"(^|\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])(?=[{_BLANK}]*[=+\\-@|%＝＋－＠]|\t)")


def plain_cell(text: str) -> str:
    """The text with an apostrophe before every line that a spreadsheet would take for a formula.

    Every line, because a program that splits the file at line ends sees each as the start of a cell. Spaces of any kind,
    and characters nobody sees, do not hide a formula.
    """
    return _LINE_START.sub(lambda match: match.group(1) + "'", text)


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV with CRLF line ends (RFC 4180). Texts are made plain; numbers, true and false stay; None is empty."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain_cell(value) if isinstance(value, str) else value
