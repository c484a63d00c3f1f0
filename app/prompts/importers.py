"""Text in, prompts out: JSON Lines, CSV and plain text, each bad line with its number and the reason."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from app.errors import Invalid
from app.language.formats import number
from app.language.languages import N_, _, known
from app.prompts.service import BadLine, Message, PromptRow

Format = Literal["jsonl", "csv", "text"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "text")

MAX_BYTES = 16 * 2**20
MAX_LINES = 50_000
MAX_MESSAGES = 64
MAX_CHARACTERS = 20_000  # of one conversation: far more than a small model can read
MAX_EXTERNAL_ID = 200
ROLES = ("system", "user", "assistant")

# What the parser of the standard library says, so that catalogues hold it.
JSON_PROBLEMS = (
    N_("Expecting value"),
    N_("Expecting ',' delimiter"),
    N_("Expecting ':' delimiter"),
    N_("Expecting property name enclosed in double quotes"),
    N_("Unterminated string starting at"),
    N_("Invalid control character at"),
    N_("Extra data"),
)

_SURROGATE = re.compile("[\ud800-\udfff]")


class _NotAPrompt(Exception):
    """Why one line is refused."""


def guess_format(name: str, fallback: Format = "text") -> Format:
    """The format a file's name promises."""
    lower = name.lower()
    if lower.endswith((".jsonl", ".ndjson", ".json")):
        return "jsonl"
    return "csv" if lower.endswith(".csv") else "text" if lower.endswith(".txt") else fallback


def decode_upload(data: bytes) -> str:
    """The text of an upload. Raises Invalid when it is too large or not UTF-8."""
    if len(data) > MAX_BYTES:
        raise Invalid(
            _(
                "The file is larger than %(most)s MB. Split it and import the parts one after the other.",
                most=MAX_BYTES // 2**20,
            )
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(
            _("The file is not UTF-8 text: line %(line)s holds bytes that mean nothing there. Save it as UTF-8.", line=line)
        ) from None


def read_prompts(text: str, format: Format) -> Iterator[PromptRow | BadLine]:
    """Read every line. Lines that are empty do not count; a bad one comes out as `BadLine`."""
    if format == "jsonl":
        return _read_jsonl(text)
    return _read_csv(text) if format == "csv" else _read_text(text)


def read_items(items: list[Any]) -> Iterator[PromptRow | BadLine]:
    """Items of a JSON request, numbered from 1."""
    _check_count(len(items))
    for line, item in enumerate(items, start=1):
        yield _row(line, item)


def _read_jsonl(text: str) -> Iterator[PromptRow | BadLine]:
    for line, raw in _lines(text):
        try:
            value = json.loads(raw)
        except RecursionError:
            yield BadLine(line, _("This is nested too deeply."))
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError):
                yield BadLine(
                    line, _("This is not JSON: %(why)s at character %(number)s.", why=known(error.msg), number=error.colno)
                )
            else:
                yield BadLine(line, _("This is not JSON: a number is too long."))
        else:
            yield _row(line, value)


def _read_text(text: str) -> Iterator[PromptRow | BadLine]:
    for line, raw in _lines(text):
        yield _row(line, {"text": raw})


def _read_csv(text: str) -> Iterator[PromptRow | BadLine]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if "messages" not in header and "text" not in header and "prompt" not in header:
            yield BadLine(1, _("The first line must name the columns, one of them text, prompt or messages."))
            return
        count = 0
        started = reader.line_num + 1
        for cells in reader:
            line, started = started, reader.line_num + 1  # a quoted cell may span lines; the number is where it starts
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            _check_count(count)
            yield _csv_row(line, header, cells)
    except csv.Error:
        yield BadLine(reader.line_num, _("This is not CSV. Check the quotation marks; nothing after this line could be read."))


def _csv_row(line: int, header: list[str], cells: list[str]) -> PromptRow | BadLine:
    if len(cells) > len(header):
        return BadLine(
            line,
            _("This has %(cells)s cells, but the first line names %(columns)s columns.", cells=len(cells), columns=len(header)),
        )
    values: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=False) if cell.strip()}
    item: dict[str, Any] = {key: values[key] for key in ("text", "external_id") if key in values}
    if "text" not in item and "prompt" in values:
        item["text"] = values["prompt"]
    if "messages" in values:
        try:
            item = {**item, "messages": json.loads(values["messages"])}
        except (ValueError, RecursionError):
            return BadLine(line, _("The column messages must hold a JSON list of messages."))
        item.pop("text", None)
    return _row(line, item)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Only the line ends people mean: str.splitlines would also cut at U+2028 and other marks inside a text.
    count = 0
    for line, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if raw.strip():
            count += 1
            _check_count(count)
            yield line, raw


def _check_count(count: int) -> None:
    if count > MAX_LINES:
        raise Invalid(
            _(
                "There are more than %(most)s prompts. Split them and import the parts one after the other.",
                most=number(MAX_LINES),
            )
        )


def _row(line: int, item: Any) -> PromptRow | BadLine:
    try:
        return PromptRow(line, _messages(item), _external_id(item))
    except _NotAPrompt as reason:
        return BadLine(line, str(reason))


def _messages(item: Any) -> list[Message]:
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, dict):
        raise _NotAPrompt(_('This must be an object such as {"text": "..."} or {"messages": [...]}.'))
    unknown = sorted(str(key) for key in item.keys() - {"text", "messages", "external_id"})
    if unknown:
        raise _NotAPrompt(_("%(name)s is not known here. Use text or messages, and external_id.", name=_quoted(unknown[0])))
    if ("text" in item) == ("messages" in item):
        raise _NotAPrompt(_("Give either text or messages."))
    raw = item["messages"] if "messages" in item else [{"role": "user", "content": item["text"]}]
    if not isinstance(raw, list) or not raw:
        raise _NotAPrompt(_("messages must be a list with at least one message."))
    if len(raw) > MAX_MESSAGES:
        raise _NotAPrompt(_("This conversation has more than %(most)s messages.", most=MAX_MESSAGES))
    messages = [_message(place, message) for place, message in enumerate(raw, start=1)]
    if messages[-1]["role"] != "user":
        raise _NotAPrompt(_("The last message must be the user's: it is what the model answers."))
    if any(message["role"] == "system" for message in messages[1:]):
        raise _NotAPrompt(_("A system message can only come first."))
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(turns)):
        raise _NotAPrompt(_("User and assistant must take turns, and the user begins."))
    if sum(len(message["content"]) for message in messages) > MAX_CHARACTERS:
        raise _NotAPrompt(_("This is longer than %(longest)s characters.", longest=number(MAX_CHARACTERS)))
    return messages


def _message(place: int, message: Any) -> Message:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        raise _NotAPrompt(_("Message %(number)s must have role and content and nothing else.", number=place))
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or role not in ROLES:
        raise _NotAPrompt(_("Message %(number)s: the role must be one of %(roles)s.", number=place, roles=", ".join(ROLES)))
    if not isinstance(content, str):
        raise _NotAPrompt(_("Message %(number)s: the content must be text.", number=place))
    if not content.strip():
        raise _NotAPrompt(_("The text is empty."))
    _check_characters(content)
    return {"role": role, "content": content.strip()}


def _external_id(item: Any) -> str | None:
    value = item.get("external_id") if isinstance(item, dict) else None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or len(value) > MAX_EXTERNAL_ID:
        raise _NotAPrompt(_("external_id must be a text of 1 to %(most)s characters.", most=MAX_EXTERNAL_ID))
    _check_characters(value)
    return value


def _check_characters(text: str) -> None:
    if "\0" in text:
        raise _NotAPrompt(_("This holds a NUL character, which cannot be stored."))
    if _SURROGATE.search(text):
        raise _NotAPrompt(_("This holds half a character (a lone surrogate), which cannot be stored."))


def _quoted(name: str) -> str:
    return '"' + "".join(character if character.isprintable() else "?" for character in name[:40]) + '"'
