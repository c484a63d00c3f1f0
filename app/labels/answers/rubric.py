"""What a verdict says of the project's rubric: yes, no or cannot say to each question about each answer.

An answer keeps the version of the question that it answered; a sender that names none was shown the words of today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from app.language.formats import listed
from app.language.languages import _
from app.models.criteria import wordings

Said = Mapping[str, Mapping[str, str | int]]  # item -> {"version": 2, "left": "yes", ...}, as a verdict has it
VERSION: Final = "version"
Answer = Literal["yes", "no", "cannot_say"]


@dataclass(frozen=True, slots=True)
class Rubric:
    """The questions that a verdict may answer, and those that it has to."""

    items: Mapping[str, Mapping[str, Any]]  # in force and retired ones, which its author may still have seen
    required: Mapping[str, str]  # key -> question, of those that were on the page

    def fault(self, said: Said, sides: Sequence[str]) -> str | None:
        """The first thing that is wrong, in a sentence."""
        if unknown := [key[:40] for key in said if key not in self.items]:
            return _("This project asks no question called %(names)s.", names=listed(unknown[:3]))
        for key, answers in said.items():
            if answers.get(VERSION, 1) not in range(1, self.items[key]["version"] + 1):
                return _("The question %(name)s never had such a version.", name=key)
            if answers.keys() - {VERSION, *sides}:
                return _("Answers about the rubric belong to %(sides)s.", sides=listed(sides))
        missing = [name for key, name in self.required.items() if not {*sides} <= said.get(key, {}).keys()]
        return _("Answer this about each answer shown: %(questions)s", questions=" · ".join(missing)) if missing else None

    def stored(self, said: Said) -> dict[str, dict[str, str | int]] | None:
        """As a label keeps it: each answer with its version."""
        return {key: {VERSION: self.items[key]["version"], **answers} for key, answers in said.items()} or None


NONE_ASKED: Final = Rubric({}, {})


def rubric_for(in_force: Iterable[Mapping[str, Any]], retired: Iterable[Mapping[str, Any]], shown_at: datetime | None) -> Rubric:
    """`shown_at`: when the person was given the task; none: they are bound to nothing, as who corrects a verdict."""
    here = list(in_force)
    items = {item["key"]: item for item in (*retired, *here)}
    must = (item for item in here if item["required"] and shown_at and datetime.fromisoformat(item["since"]) < shown_at)
    return Rubric(items, {item["key"]: item["name"] for item in must})


def without_gaps(said: Mapping[str, Mapping[str, str | int | None]]) -> dict[str, dict[str, str | int]]:
    """What is said; a question that nothing is said about is left out, its version too."""
    found = {key: {part: value for part, value in answers.items() if value is not None} for key, answers in said.items()}
    return {key: answers for key, answers in found.items() if answers.keys() - {VERSION}}


def told(said: Said | None, items: Iterable[Mapping[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """Each question in the words that were answered, and what was said by side, in the order of `items`."""
    found = []
    for item in items:
        if answers := (said or {}).get(item["key"]):
            words = wordings(item)[int(answers[VERSION]) - 1]
            found.append((words, {side: str(value) for side, value in answers.items() if side != VERSION}))
    return found
