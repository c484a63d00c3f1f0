"""Tables of prompts: comma, semicolon or tab between the cells, as spreadsheets write them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from app.language.languages import _
from app.prompts.conversations import EXTERNAL_ID, LANGUAGE, SHAPES, SKILLS, TAGS
from app.prompts.service import BadLine
from app.texts.spreadsheet_cells import original_cell

Row = TypeVar("Row")

DELIMITERS: Final = (",", ";", "\t")
OF_OUR_EXPORTS: Final = frozenset(["label_id", "task_id", "annotator"])
JSON_COLUMNS: Final = ("messages", "conversations", "conversation")
LOOKED_AT = 20  # rows

_COLUMN = re.compile(r"[A-Za-z_][\w.-]{0,39}")
# Names that columns have, and that stand alone between commas in no sentence.
_COMMON: Final = frozenset(
    [
        "id",
        "idx",
        "index",
        "question",
        "answer",
        "query",
        "input",
        "output",
        "response",
        "completion",
        "context",
        "label",
        "category",
    ]
)
_SEPARATOR_LINE = re.compile('\\A"?sep=([,;\t])"?\r?\n')  # what Excel writes where a comma is not its separator

# The library takes a cell of more than 131,072 characters for bad syntax; how long a text may be is for its reader to say.
csv.field_size_limit(2**31 - 1)


def read_table(text: str, read: Callable[[int, Any], Row | BadLine]) -> Iterator[Row | BadLine]:
    """Every row as `read(line, cells by their columns)` makes it out; a row's number is the line it starts on."""
    skipped = len(_SEPARATOR_LINE.findall(text))
    delimiter = _delimiter(text)
    if delimiter is None:
        yield BadLine(1 + skipped, _("The first line must name the columns, one of them text, prompt or messages."))
        return
    reader = _reader(text, delimiter, strict=True)
    try:
        header = [_column(name) for name in next(reader)]
        started = reader.line_num + 1
        for cells in reader:
            if OF_OUR_EXPORTS.issubset(header):
                cells = [original_cell(cell) for cell in cells]
            line, started = started, reader.line_num + 1  # a quoted cell may span lines; the number is where it starts
            if any(cell.strip() for cell in cells):
                item = _item(line + skipped, header, cells)
                yield item if isinstance(item, BadLine) else read(line + skipped, item)
    except csv.Error:
        why = _("This is not CSV. Check the quotation marks; nothing after this line could be read.")
        yield BadLine(reader.line_num + skipped, why)


def is_table(text: str) -> bool:
    """Whether the first line names a column that prompts are read from, and most rows are as wide as it."""
    delimiter = _delimiter(text)
    return delimiter is not None and _width_share(_first_rows(text, delimiter)) >= 0.5


def looks_like_table(text: str) -> bool:
    """Whether the first line may name columns, none of them one we know, or every line has as many tabs inside."""
    for delimiter in DELIMITERS:
        rows = _first_rows(text, delimiter)
        if (
            len(rows) > 1
            and len(rows[0]) > 1
            and _width_share(rows) >= 0.8
            and (_are_columns(rows[0]) or (delimiter == "\t" and rows[0][0]))
        ):
            return True
    return False


def _delimiter(text: str) -> str | None:
    """Of those that make a column we know of the first line, the one that makes most columns, then most rows as wide as it."""
    found = []
    for delimiter in DELIMITERS:
        rows = _first_rows(text, delimiter)
        if rows and any(_column(name) in SHAPES for name in rows[0]):
            found.append((len(rows[0]), _width_share(rows), delimiter))
    return max(found, key=lambda one: one[:2])[2] if found else None


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    try:
        return [row for row in islice(_reader(text, delimiter, strict=False), LOOKED_AT) if row]
    except csv.Error:
        return []


def _reader(text: str, delimiter: str, strict: bool) -> Any:
    return csv.reader(io.StringIO(_SEPARATOR_LINE.sub("", text), newline=""), delimiter=delimiter, strict=strict)


def _width_share(rows: list[list[str]]) -> float:
    """The share of rows that have as many cells as the first; 0 where that stands alone."""
    return sum(len(row) == len(rows[0]) for row in rows[1:]) / (len(rows) - 1) if len(rows) > 1 else 0.0


def _are_columns(cells: list[str]) -> bool:
    return all(_COLUMN.fullmatch(cell) for cell in cells) or any(_column(cell) in _COMMON for cell in cells)


def _column(name: str) -> str:
    """A column's name; the ones we know in small letters."""
    name = name.strip()
    return name.lower() if name.lower() in {*SHAPES, *_COMMON, EXTERNAL_ID, LANGUAGE, TAGS, SKILLS} else name


def _item(line: int, header: list[str], cells: list[str]) -> dict[str, Any] | BadLine:
    if len(cells) > len(header):
        return BadLine(
            line,
            _(
                "This has more cells (%(cells)s) than the first line names columns (%(columns)s).",
                cells=len(cells),
                columns=len(header),
            ),
        )
    item: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=False) if name and cell.strip()}
    if not any(name in SHAPES for name in item):
        return BadLine(line, _("The cell of the prompt is empty."))
    for name in JSON_COLUMNS:
        if name in item:
            try:
                item[name] = json.loads(item[name])
            except (ValueError, RecursionError):
                return BadLine(line, _("The column %(name)s must hold a JSON list of messages.", name=name))
    return item
