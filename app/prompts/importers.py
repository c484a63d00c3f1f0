"""Text in, prompts out: JSON, JSON Lines, tables, Parquet and plain text, each bad line with its number and the reason.

Every door (a file, a paste, the command line, a call) comes through `read_upload`, so that the same bytes are read alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from app.database.slices import giving_way
from app.errors import Invalid
from app.language.formats import number
from app.language.languages import N_, _, known
from app.prompts.conversations import prompt_row
from app.prompts.file_formats import FORMATS, Format, guess_format, looks_like_one_document, refuse_utf_16, refuse_what_is_no_text
from app.prompts.service import BadLine, PromptRow
from app.prompts.tables import read_table
from app.texts import parquet

__all__ = ["FORMATS", "MAX_BYTES", "MAX_LINES", "Format", "open_upload", "read_items", "read_upload"]

Row = TypeVar("Row")

MAX_BYTES: Final = 16 * 2**20
MAX_LINES: Final = 50_000
MAX_CHARACTERS: Final = 4 * MAX_BYTES  # of a file that was packed

# What the parser of the standard library says, so that catalogues hold it.
JSON_PROBLEMS: Final = (
    N_("Expecting value"),
    N_("Expecting ',' delimiter"),
    N_("Expecting ':' delimiter"),
    N_("Expecting property name enclosed in double quotes"),
    N_("Unterminated string starting at"),
    N_("Invalid control character at"),
    N_("Illegal trailing comma before end of array"),
    N_("Illegal trailing comma before end of object"),
    N_("Invalid \\escape"),
    N_("Invalid \\uXXXX escape"),
    N_("Extra data"),
)
LISTS: Final = ("items", "data", "prompts", "rows", "examples", "instances")  # what a document's one list is called


def read_upload(data: bytes, format: Format | None = None, name: str = "") -> list[PromptRow | BadLine]:
    """Every prompt of an upload; without a format it is told by the content, and by the file's name where that tells nothing.

    Raises Invalid for what is too large, is no text, or may be more than one thing.
    """
    return list(giving_way(read_prompts(*open_upload(data, format, name))))


def open_upload(data: bytes, format: Format | None = None, name: str = "") -> tuple[str, Format]:
    """The text of an upload and its format, which somebody may have said; Parquet tells its own. Raises Invalid."""
    if _fits(data).startswith(parquet.MAGIC):
        return _read_parquet(data), "jsonl"
    text = _decode(data)
    return text, format or guess_format(text, name)


def _fits(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise Invalid(
            _(
                "The file is larger than %(most)s MB. Split it and import the parts one after the other.",
                most=MAX_BYTES // 2**20,
            )
        )
    return data


def _read_parquet(data: bytes) -> str:
    try:
        return parquet.as_json_lines(data, MAX_LINES, MAX_CHARACTERS)
    except parquet.TooMuchParquet:
        raise Invalid(
            _(
                "There are more than %(rows)s rows or %(characters)s characters in this Parquet file. Split it and import the "
                "parts one after the other.",
                rows=number(MAX_LINES),
                characters=number(MAX_CHARACTERS),
            )
        ) from None
    except parquet.UnreadableParquet as error:
        raise Invalid(_("This Parquet file is damaged or not whole: %(why)s", why=str(error))) from None


def _decode(data: bytes) -> str:
    """Raises Invalid for what is no UTF-8."""
    refuse_what_is_no_text(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse_utf_16(data)
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(
            _("The file is not UTF-8 text: line %(line)s holds bytes that mean nothing there. Save it as UTF-8.", line=line)
        ) from None


def read_prompts(text: str, format: Format) -> Iterator[PromptRow | BadLine]:
    """Read every line. Lines that are empty do not count; a bad one comes out as `BadLine`. Raises Invalid on too many."""
    too_many = _(
        "There are more than %(most)s prompts. Split them and import the parts one after the other.", most=number(MAX_LINES)
    )
    return read_items(text, format, prompt_row, too_many)


def read_items(text: str, format: Format, read: Callable[[int, Any], Row | BadLine], too_many: str) -> Iterator[Row | BadLine]:
    """Every item of a text as `read(line, item)` makes it out; a plain text has an item a line. Raises Invalid on too many."""
    if format == "jsonl":
        found = _read_document(text, read) if looks_like_one_document(text) else _read_json_lines(text, read)
    else:
        found = read_table(text, read) if format == "csv" else _read_text(text, read)
    yield from islice(found, MAX_LINES)
    for _more in found:
        raise Invalid(too_many)


def _read_json_lines(text: str, read: Callable[[int, Any], Row | BadLine]) -> Iterator[Row | BadLine]:
    for line, raw in _lines(text):
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            yield BadLine(line, _json_problem(error))
        else:
            yield read(line, value)


def _read_document(text: str, read: Callable[[int, Any], Row | BadLine]) -> Iterator[Row | BadLine]:
    """One JSON value for all prompts, whose items are numbered from 1."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield BadLine(getattr(error, "lineno", 1), _json_problem(error))
        return
    for number_, item in enumerate(_items(value), start=1):
        yield read(number_, item)


def _items(value: Any) -> list[Any]:
    """The items of a document: those of its list, or the one that it is. A list of messages is one conversation."""
    if isinstance(value, list):
        is_conversation = bool(value) and all(isinstance(item, dict) and {"role", "content"} <= item.keys() for item in value)
        return [{"messages": value}] if is_conversation else value
    if isinstance(value, dict):
        lists = [value[key] for key in LISTS if isinstance(value.get(key), list)]
        if len(lists) == 1:
            return list(lists[0])
    return [value]


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return _(
            "This is not JSON: %(why)s at character %(number)s.", why=known(error.msg.partition(": ")[0]), number=error.colno
        )
    if isinstance(error, RecursionError):
        return _("This is nested too deeply.")
    return _("This is not JSON: a number is too long.")


def _read_text(text: str, read: Callable[[int, Any], Row | BadLine]) -> Iterator[Row | BadLine]:
    for line, raw in _lines(text):
        yield read(line, raw)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Only the line ends people mean: str.splitlines would also cut at U+2028 and other marks inside a text.
    for line, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if raw.strip():
            yield line, raw
