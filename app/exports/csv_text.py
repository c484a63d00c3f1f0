"""Rows as CSV, whose cells a spreadsheet will not run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from app.texts.spreadsheet_cells import plain_cell


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV with CRLF line ends (RFC 4180). Texts are made plain; numbers, true and false stay; None is empty."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return plain_cell(value)
    return ("true" if value else "false") if isinstance(value, bool) else value
