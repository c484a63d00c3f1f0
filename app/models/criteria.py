"""The words a project judges by: its criteria and its flags, each a lasting key under a name that may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

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
