"""What a project's verdicts say about those who gave them, as pages and calls show it. Nobody is ranked.

It knows no NumPy: what counts it is `app/quality/counting.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from app.quality.measures.figure import Figure

Kind = Literal["comparison", "rating"]

ONE_SIDE: Final = 0.15  # beyond a half, with the whole interval
NOTHING_ELSE: Final = 0.35  # so far beyond it at least seven of ten choices go by the side, and the rest tell little


@dataclass(frozen=True, slots=True)
class Question:
    """How far people agree about one question: the verdict itself (`key` ""), or a criterion."""

    key: str
    kind: Kind
    nominal: Figure
    ordinal: Figure


@dataclass(frozen=True, slots=True)
class Person:
    """One person's figures; each is NOTHING where there is nothing to tell."""

    user_id: int
    labels: int
    agrees: Figure  # with everybody else, task by task; ratings within one step
    steady: Figure  # said the same when a question came back
    gold: Figure  # said what is known to be right
    accuracy: Figure  # of choices, by what the others' verdicts make out to be true
    discrimination: Figure  # tells better from worse contenders: 1 is average, 0 a guess
    leniency: Figure  # of ratings, over what others gave the same answers
    left: Figure  # of choices
    longer: Figure  # of choices where one answer was longer
    ties: Figure  # of comparisons
    seconds: Figure  # median, active
    reading: Figure  # median time over what reading the answers takes
    hasty: Figure  # of labels, faster than anybody reads
    decides: Mapping[str, float] = field(
        default_factory=dict
    )  # kind of app.quality.noise.kinds -> its probability; none: too little

    @property
    def kind(self) -> str | None:
        """What they most probably decide by, where that is more probable than all else."""
        return what_decides(self.decides, self.left)


@dataclass(frozen=True, slots=True)
class Pair:
    first: int
    second: int
    alike: Figure


@dataclass(frozen=True, slots=True)
class Report:
    labels: int = 0
    questions: list[Question] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)  # in the order of their ids, which says nothing
    pairs: list[Pair] = field(default_factory=list)


def what_decides(decides: Mapping[str, float], left: Figure) -> str | None:
    """The kind that is more probable than all else; `side` of who takes one so often that answers cannot have made it (sides are
    drawn) and otherwise seems to guess, or hardly takes the other.
    """
    kind = next((kind for kind, probability in decides.items() if probability > 0.5), None)
    return "side" if kind and (_beyond(left, NOTHING_ELSE) or (kind == "chance" and _beyond(left, ONE_SIDE))) else kind


def _beyond(left: Figure, margin: float) -> bool:
    return left.low is not None and left.high is not None and (left.low > 0.5 + margin or left.high < 0.5 - margin)


FIGURES: Final = tuple(name for name in Person.__dataclass_fields__ if name not in ("user_id", "labels", "decides"))


def written(report: Report) -> dict[str, Any]:
    """As JSON."""
    return asdict(report)


def from_json(kept: Mapping[str, Any]) -> Report:
    return Report(
        labels=kept["labels"],
        questions=[Question(**_figures(one, "nominal", "ordinal")) for one in kept["questions"]],
        people=[Person(**_figures(one, *FIGURES)) for one in kept["people"]],
        pairs=[Pair(**_figures(one, "alike")) for one in kept["pairs"]],
    )


def _figures(kept: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**kept, **{name: Figure(**kept[name]) for name in names}}
