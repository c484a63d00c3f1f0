"""What people wrote, as text: files in UTF-8, with a byte-order mark or without, and what is cut from the ends of a text.

A file that is none is refused, naming file and line. Raises Refused alone, so that it is told of in the same words at the door
and in the run.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from trainer.contract.folder import Refused
from trainer.contract.messages import Message

_BLANK_LINES = re.compile(r"\A(?:[^\S\r\n]*(?:\r\n|\r|\n))+")


def text_of(name: str, held: bytes) -> str:
    """The text of a whole file, its lines ended by line feeds alone. A NUL is no text: UTF-16 without a mark is full of them."""
    own = held.removeprefix(codecs.BOM_UTF8)
    try:
        found = own.decode("utf-8")
        bad = own.find(b"\0")
    except UnicodeDecodeError as error:
        found, bad = "", error.start
    if bad >= 0:
        raise Refused(Message("not_utf8", file=name, line=own.count(b"\n", 0, bad) + 1))
    return found.replace("\r\n", "\n")


def json_lines(name: str, lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """(number of its line, value) of each line that holds one."""
    for number, line in enumerate(lines, start=1):
        try:
            text = text_of(name, line)
        except Refused:
            raise Refused(Message("not_utf8", file=name, line=number)) from None
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise Refused(Message("line_not_json", file=name, line=number, error=error.msg)) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
            raise Refused(Message("line_not_json", file=name, line=number, error=str(error))) from error
        yield number, value


def trimmed(text: str) -> str:
    """The text less the blank lines before it and the white space after it. The indent of a first line is meaning, and stays."""
    return _BLANK_LINES.sub("", text).rstrip()


def said(text: str) -> str:
    """An answer as people read it: its indent stays; the one space that some tokenizers put before a first word goes."""
    kept = trimmed(text)
    return kept[1:] if re.match(r" \S", kept) else kept
