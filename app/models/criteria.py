"""The words a project judges by: criteria, flags, rubric, reasons for marks; each a lasting key under a name that may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from app.language.languages import N_


class Criterion(TypedDict):
    key: str
    name: str
    description: str
    anchors: dict[str, str]  # the words under 1 and under 5


class Flag(TypedDict):
    """What may be wrong with one answer, beside any verdict."""

    key: str
    name: str
    description: str
    weight: float  # what one flag costs an answer in training, in units of the latent reward; 0: nothing


class RubricItem(TypedDict):
    """A question of yes or no, asked about each answer. An answer to it keeps the version of the words that it answered."""

    key: str
    name: str  # the question as it is asked now
    description: str
    required: bool
    version: int  # of the question's words, from 1
    earlier: list[str]  # the words of the versions before
    since: str  # RFC 3339: it has been asked like this, in these words and as required as it is


class SpanReason(TypedDict):
    """Why a passage of an answer may be marked. A label keeps the version of the words that it marked with."""

    key: str
    name: str
    description: str
    tone: str  # "bad" or "good"
    version: int  # of its name, from 1
    earlier: list[str]  # the names of the versions before
    since: str  # RFC 3339: it has been offered like this


TONES: Final = ("bad", "good")
OFFERED: Final = ("key", "name", "description", "tone", "version")  # what whoever marks sees of a reason
YES, NO, CANNOT_SAY = ANSWERS = ("yes", "no", "cannot_say")
ASKED: Final = ("key", "name", "description", "required", "version")  # what whoever answers sees of an item


def asked(rubric: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{part: item[part] for part in ASKED} for item in rubric]


def offered(reasons: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{part: reason[part] for part in OFFERED} for reason in reasons]


def wordings(item: Mapping[str, Any]) -> list[str]:
    """The question, or the name of a reason, in each of its versions, the first first."""
    return [*item["earlier"], item["name"]]


def dated(
    rubric: Iterable[Mapping[str, Any]],
    in_force: Sequence[Mapping[str, Any]],
    retired: Iterable[Mapping[str, Any]],
    now: datetime,
) -> list[dict[str, Any]]:
    """Items as they are stored: other words are a new version, and what is asked otherwise than before is so from now on."""
    here = {item["key"]: item for item in in_force}
    known = {item["key"]: item for item in retired} | here
    return [_dated(item, known.get(item["key"]), item["key"] in here, now) for item in rubric]


def _dated(item: Mapping[str, Any], before: Mapping[str, Any] | None, asked_now: bool, now: datetime) -> dict[str, Any]:
    if before is None:
        return {**item, "version": 1, "earlier": [], "since": now.isoformat()}
    earlier = list(before["earlier"]) if item["name"] == before["name"] else wordings(before)
    same = asked_now and all(item[part] == before[part] for part in ("name", "required", "tone") if part in item)
    return {**item, "version": len(earlier) + 1, "earlier": earlier, "since": before["since"] if same else now.isoformat()}


def names(in_force: Iterable[Mapping[str, Any]], retired: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Key -> name of everything a label may speak of."""
    return {item["key"]: item["name"] for item in (*retired, *in_force)}


def retire(in_force: Iterable[dict[str, Any]], retired: Iterable[dict[str, Any]], kept: set[str]) -> list[dict[str, Any]]:
    """The retired ones once only `kept` keys are in force. One that comes back is retired no longer."""
    known = {item["key"]: item for item in (*retired, *in_force)}
    return [item for key, item in known.items() if key not in kept]


def default_flags() -> list[Flag]:
    return [
        {"key": "unsafe", "name": N_("unsafe"), "description": N_("Following it could hurt somebody."), "weight": 1.0},
        {"key": "hateful", "name": N_("hateful"), "description": N_("It insults or demeans people."), "weight": 1.0},
        {
            "key": "private_data",
            "name": N_("private data"),
            "description": N_("It gives away what belongs to a person: an address, a number, a secret."),
            "weight": 1.0,
        },
        {"key": "untrue", "name": N_("untrue"), "description": N_("It states something that is not so."), "weight": 0.5},
        {"key": "off_topic", "name": N_("off-topic"), "description": N_("It does not answer what was asked."), "weight": 0.5},
        {
            "key": "broken",
            "name": N_("broken"),
            "description": N_("It is cut off, repeats itself, or cannot be read."),
            "weight": 0.5,
        },
    ]
