"""What runs, rounds and settings say to people: a code with its arguments, for each reader to read in their own language.

Codes and their English sentences stand in `sentences.py`. A message travels as `{"code": ..., "arguments": {...}}`, in
progress.json, in result.json and in the database; only who shows it makes a sentence of it: `english.py` for logs, the command
line and cards, the pages in the reader's language. Nothing ever reads a sentence back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainer.contract.sentences import SENTENCES

Kind = Literal["name", "number", "share", "bound", "setting"]

PLACE: Final = re.compile(r"%\((\w+)\)s")

# How an argument is shown, by its name: a share in per cent, a setting and its choice by the words that its page gives them
# ("ppo.clip", "ppo.length_control.off"), a name (of a round, a run, a row, a line, a file) as it is, a bound to its last
# digit. Every other number is rounded to what matters.
SHARES: Final = frozenset({"accuracy", "low", "high", "ratio"})
SETTINGS: Final = frozenset({"setting", "choice"})
BOUNDS: Final = frozenset({"least", "most"})
NAMES: Final = frozenset({"number", "row", "line", "status"})


@dataclass(frozen=True, init=False)
class Message:
    """`Message("policy_of_round", number=3)`. Raises ValueError for a code or for arguments that `SENTENCES` does not have."""

    code: str
    arguments: Mapping[str, str | int | float | Message]

    def __init__(self, code: str, /, **arguments: str | int | float | Message) -> None:
        if code not in SENTENCES:
            raise ValueError(f"there is no message {code!r}")
        if arguments.keys() != places(code):
            raise ValueError(f"message {code!r} takes {sorted(places(code))}, not {sorted(arguments)}")
        for name, value in arguments.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float | Message):
                raise ValueError(f"argument {name!r} of message {code!r} is {value!r}: text, a number or a message is needed")
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "arguments", arguments)


def places(code: str) -> set[str]:
    """The names of the arguments that a message needs."""
    return set(PLACE.findall(SENTENCES[code]))


def kind_of(name: str, value: str | int | float) -> Kind:
    """How an argument of this name is to be shown."""
    if name in SETTINGS:
        return "setting"
    if isinstance(value, str) or name in NAMES:
        return "name"
    return "share" if name in SHARES else "bound" if name in BOUNDS else "number"


def filled(
    message: Message,
    sentence: Callable[[str], str],  # of a source sentence: that sentence in the reader's language
    shown: Callable[[Kind, Any], str],  # of an argument: its words
) -> str:
    """The message as somebody reads it, and so are the messages among its arguments."""
    words = {
        name: filled(value, sentence, shown) if isinstance(value, Message) else shown(kind_of(name, value), value)
        for name, value in message.arguments.items()
    }
    return sentence(SENTENCES[message.code]) % words


def as_json(message: Message) -> dict[str, Any]:
    """Plain JSON values. A number that is not finite, which JSON does not have, becomes text."""
    return {"code": message.code, "arguments": {name: _plain(value) for name, value in message.arguments.items()}}


def as_text(message: Message) -> str:
    return json.dumps(as_json(message), ensure_ascii=False)


def from_json(value: Any) -> Message:
    """The message in a JSON value. What is none, as in files and rows of earlier versions, is taken as it was written."""
    if isinstance(value, dict) and isinstance(value.get("code"), str) and isinstance(value.get("arguments"), dict):
        arguments = {name: from_json(one) if isinstance(one, dict) else one for name, one in value["arguments"].items()}
        try:
            return Message(value["code"], **arguments)
        except (ValueError, TypeError):  # of another version, which had another table
            given = ", ".join(f"{name}={one}" for name, one in value["arguments"].items())
            return Message("written", text=f"{value['code']}: {given}" if given else value["code"])
    return Message("written", text=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def from_text(text: str) -> Message:
    """The message that `as_text` wrote; any other text as it was written."""
    try:
        value = json.loads(text) if text.startswith('{"code": ') else text
    except ValueError:
        value = text
    return from_json(value)


def reason_of(result: Mapping[str, Any]) -> Message | None:
    """Why a run ended, as its result.json says; None where it says nothing."""
    return from_json(result["reason"]) if result.get("reason") else None


def _plain(value: str | int | float | Message) -> Any:
    if isinstance(value, Message):
        return as_json(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
