"""What an upload is, told by what it holds: a format that is read here, or something else, which is named and refused."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Final, Literal

from app.errors import Invalid
from app.language.formats import listed
from app.language.languages import N_, _
from app.prompts import tables

Format = Literal["jsonl", "csv", "text"]
FORMATS: Final[tuple[Format, ...]] = ("jsonl", "csv", "text")

# The format that a kind of content is read as; None: told by what it holds, as on the page.
CONTENT_TYPES: Final[dict[str, Format | None]] = {
    "application/json": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "text/plain": None,
    "application/vnd.apache.parquet": None,
    "application/octet-stream": None,
}

LOOKED_AT = 50  # lines that are not empty

_EXCEL = N_("This is an Excel workbook. In Excel, save it as “CSV UTF-8” and import that file.")
_ARCHIVE = N_("This is a compressed file. Unpack it and import what is in it.")
_ARROW = N_("This is an Arrow file. Save it as Parquet, JSON Lines or CSV and import that file.")
_UTF_16 = N_("This text is in UTF-16. Save it as UTF-8 and import it again.")
# How a file begins -> what to say.
BINARIES: Final = (
    (b"PK\x03\x04", _ARCHIVE),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"7z\xbc\xaf", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    (b"ARROW1", _ARROW),
    (b"\xd0\xcf\x11\xe0", _EXCEL),
    (b"%PDF", N_("This is a PDF file. Copy its text and paste it as plain text.")),
    (b"\xff\xfe", _UTF_16),
    (b"\xfe\xff", _UTF_16),
)

# A line of data's own syntax, which nobody would call a prompt.
_JSON_LINE = re.compile(r"""[\[\]{}]+,?|["'][^"']{1,80}["']\s*:\s.*|\{\s*["']\w[^"']*["']\s*:.*|\[\s*[\[{"'].*""")
_MARKUP_START = re.compile(r"<(\?xml|!doctype|html)\b", re.IGNORECASE)
_MARKUP_LINE = re.compile(r"<[/\w!?].*>")
_YAML_LINE = re.compile(r"(---|%YAML.*|(- +)?(text|prompt|messages|instruction|role|content): .*)")


def format_sent(content_type: str) -> Format | None:
    """The format of a request's body by its Content-Type. Raises Invalid."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        kinds = listed(CONTENT_TYPES)
        raise Invalid(
            _("The Content-Type must be one of %(kinds)s.", kinds=kinds), {"Content-Type": _("This is not known here.")}
        )
    return CONTENT_TYPES[kind]


def guess_format(text: str, name: str = "") -> Format:
    """The format of a text; its file's name decides where the text itself does not.

    Raises Invalid where it looks like data but cannot be read as that: better asked than imported line by line.
    """
    if _is_json(text):
        return "jsonl"
    if tables.is_table(text):
        return "csv"
    lower = name.lower()
    if lower.endswith((".jsonl", ".ndjson", ".json")):
        return "jsonl"
    if lower.endswith((".csv", ".tsv", ".tab")):
        return "csv"
    if look := _look(text):
        raise Invalid(_("This looks like %(format)s. Choose the format.", format=look), {"format": _("Choose the format.")})
    return "text"


def looks_like_one_document(text: str) -> bool:
    """Whether the text is one JSON value over several lines, or all in one list, and not a value a line."""
    start = text.lstrip()
    if not start.startswith(("[", "{")):
        return False
    try:
        _value, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return not any(_is_value(line) for line in _sample(text))
    return not start[end:].strip()


def refuse_what_is_no_text(data: bytes) -> None:
    """Raises Invalid for workbooks, archives and texts in UTF-16, each by its name."""
    for start, words in BINARIES:
        if data.startswith(start):
            is_workbook = b"xl/workbook" in data or b"opendocument.spreadsheet" in data[:200]
            raise Invalid(_(_EXCEL if is_workbook else words))
    if data[:400].count(b"\0") > len(data[:400]) // 4:
        raise Invalid(_(_UTF_16))


def refuse_utf_16(data: bytes) -> None:
    """Raises Invalid where bytes that are no UTF-8 are UTF-16 without its mark: Chinese, say, with a line end now and then."""
    if b"\0" not in data:
        return
    for encoding in ("utf-16-le", "utf-16-be"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and all(sign.isprintable() or sign.isspace() for sign in text):
            raise Invalid(_(_UTF_16))


def _is_json(text: str) -> bool:
    """One JSON value, or lines of which at least half are each an object, a list or a text in quotation marks."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return False
    try:
        return isinstance(json.loads(text), dict | list | str)
    except (ValueError, RecursionError):
        lines = _sample(text)
        return 2 * sum(_is_value(line) for line in lines) >= len(lines)


def _is_value(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list | str)
    except (ValueError, RecursionError):
        return False


def _look(text: str) -> str:
    """The name of what a text looks like that is not plain; empty for plain text."""
    lines = _sample(text)
    if any(_JSON_LINE.fullmatch(line) for line in lines):
        return "JSON"
    if lines and (_MARKUP_START.match(lines[0]) or _most(_MARKUP_LINE, lines)):
        return "HTML/XML"
    if _most(_YAML_LINE, lines):
        return "YAML"
    return "CSV" if tables.looks_like_table(text) else ""


def _most(pattern: re.Pattern[str], lines: list[str]) -> bool:
    return len(lines) > 1 and 2 * sum(bool(pattern.fullmatch(line)) for line in lines) > len(lines)


def _sample(text: str) -> list[str]:
    stripped = (line.strip() for line in re.split(r"[\r\n]+", text))
    return list(islice(filter(None, stripped), LOOKED_AT))
