"""Rows of a file that people may have written, and what is wrong with one, in words that name its part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from trainer.contract.folder import Refused
from trainer.contract.messages import Message
from trainer.contract.texts import json_lines

Parsed = TypeVar("Parsed")


class Unusable(ValueError):
    """What is wrong with a row."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.code)
        self.message = message


def must_be_one_of(part: str, *choices: str) -> Unusable:
    return Unusable(Message("part_must_be_one_of", part=part, choices=", ".join(choices)))


def rows(path: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Iterator[Parsed]:
    """Each row as it is parsed; none of a file that is not there. Raises Refused, naming file, row and what is wrong with it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, row in json_lines(path.name, file):
            try:
                yield parse(row)
            except (KeyError, TypeError, ValueError) as error:
                raise Refused(Message("row_unusable", file=path.name, row=number, problem=_why(error))) from error


def _why(error: Exception) -> Message:
    if isinstance(error, Unusable):
        return error.message
    if isinstance(error, KeyError):
        return Message("part_missing", part=str(error.args[0]))
    return Message("written", text=str(error))
