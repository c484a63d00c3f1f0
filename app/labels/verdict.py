"""What a person may say about a task, checked against the task and the project's words before it is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from app.errors import Invalid
from app.labels.answers import spans
from app.labels.answers.rubric import NONE_ASKED, Rubric, Said
from app.labels.answers.spans import NOTHING_MARKED, Marking
from app.language.formats import listed
from app.language.languages import _

CHOICES = ("left", "right", "tie", "both_bad")
SKIP_REASONS = ("not_my_subject", "cannot_read", "broken", "upsetting", "other")
SIDES = {"comparison": ("left", "right"), "rating": ("response",), "ranking": ("1", "2", "3", "4", "5", "6")}


@dataclass(frozen=True, slots=True)
class Rewrite:
    side: str  # left, right; a rating's only answer is "response"
    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """Several answers put in order, by their numbers from 1, as they were shown. Who is in no group is worse than all of `order`
    and better than all of `last`.
    """

    order: Sequence[Sequence[int]]  # the best first; those of one group are equal
    last: Sequence[int] = ()  # the worst, equal too
    all_bad: bool = False  # every one of them; then none is placed


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict as its author sent it. `choice` belongs to a comparison, `overall` to a rating, `ranking` to a ranking."""

    client_id: str
    choice: str | None = None
    strength: int | None = None  # 1 slightly, 2 clearly, 3 much
    overall: int | None = None  # 1 to 5
    ranking: Order | None = None
    criteria: Mapping[str, str | int] = field(default_factory=dict)  # a side or "tie"; 1 to 5 in a rating
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)  # per side
    rubric: Said = field(default_factory=dict)
    spans: spans.Said | None = None  # none: nobody was asked to mark
    rewrite: Rewrite | None = None
    comment: str = ""
    active_ms: int | None = None  # the page was seen and somebody was there
    wall_ms: int | None = None  # since the page showed the task, which it may have fetched ahead

    def digest(self, task_id: int, annotator_id: int) -> str:
        """SHA-256 of everything said, by whom and about what: tells a repeated send from a different verdict."""
        fields = asdict(self)
        if self.wall_ms is None:
            del fields["wall_ms"]  # verdicts stored before there was such a field keep their digest
        if self.ranking is None:
            del fields["ranking"]
        if not self.rubric:
            del fields["rubric"]
        if self.spans is None:
            del fields["spans"]
        said = json.dumps([task_id, annotator_id, fields], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()


def check(
    verdict: Verdict,
    kind: str,
    criteria: Collection[str],
    flags: Collection[str],
    answers: int = 0,
    rubric: Rubric = NONE_ASKED,
    marking: Marking = NOTHING_MARKED,
) -> None:
    """Refuse a verdict that does not answer a task of this kind. Raises Invalid with one sentence per field.

    `criteria` and `flags`: every key the project has or once had; `answers`: how many a ranking is of.
    """
    if kind == "ranking":
        wrong = _ranking_faults(verdict, answers)
    else:
        wrong = _comparison_faults(verdict) if kind == "comparison" else _rating_faults(verdict)
        if verdict.ranking is not None:
            wrong["ranking"] = _("This task is no ranking.")
    if unknown := [key for key in verdict.criteria if key not in criteria]:
        wrong["criteria"] = _("This project has no criterion called %(names)s.", names=_listed(unknown))
    sides = SIDES[kind][:answers] if kind == "ranking" else SIDES[kind]
    for side, ticked in verdict.flags.items():
        if side not in sides:
            wrong["flags"] = _("Flags belong to %(sides)s.", sides=listed(sides))
        elif unknown := [flag for flag in ticked if flag not in flags]:
            wrong["flags"] = _("This project has no flag called %(names)s.", names=_listed(unknown))
    if kind == "ranking":
        if verdict.rubric:
            wrong["rubric"] = _("A ranking is of the whole answer, without the rubric.")
    elif fault := rubric.fault(verdict.rubric, sides):
        wrong["rubric"] = fault
    if verdict.spans is not None and (fault := marking.fault(verdict.spans, sides)):
        wrong["spans"] = fault
    if verdict.rewrite is not None and verdict.rewrite.side not in sides:
        wrong["rewrite"] = _("A rewrite belongs to %(sides)s.", sides=listed(sides))
    if wrong:
        raise Invalid(_("This verdict cannot be saved as it is. Nothing was stored."), wrong)


def _comparison_faults(verdict: Verdict) -> dict[str, str]:
    wrong = {}
    if verdict.choice not in CHOICES:
        wrong["choice"] = _("Choose A, B, tie or both bad.")
    if verdict.overall is not None:
        wrong["overall"] = _("A comparison has a choice, not an overall score.")
    if verdict.strength is not None:
        if verdict.strength not in (1, 2, 3):
            wrong["strength"] = _("The strength is 1, 2 or 3.")
        elif verdict.choice not in ("left", "right"):
            wrong["strength"] = _("Only a choice of A or B has a strength.")
    if any(value not in ("left", "right", "tie") for value in verdict.criteria.values()):
        wrong["criteria"] = _("In a comparison a criterion is left, right or tie.")
    return wrong


def _rating_faults(verdict: Verdict) -> dict[str, str]:
    wrong = {}
    if verdict.overall not in (1, 2, 3, 4, 5):
        wrong["overall"] = _("Give an overall score from 1 to 5.")
    if verdict.choice is not None:
        wrong["choice"] = _("A rating has an overall score, not a choice.")
    if verdict.strength is not None:
        wrong["strength"] = _("Only a comparison has a strength.")
    if any(value not in (1, 2, 3, 4, 5) for value in verdict.criteria.values()):
        wrong["criteria"] = _("In a rating a criterion is a score from 1 to 5.")
    return wrong


def _ranking_faults(verdict: Verdict, answers: int) -> dict[str, str]:
    wrong = {}
    said = verdict.ranking
    if said is None:
        return {"ranking": _("Put the answers in order: one at least, or say that all are bad.")}
    placed = [number for group in (*said.order, said.last) for number in group]
    if any(number not in range(1, answers + 1) for number in placed):
        wrong["ranking"] = _("The answers are numbered from 1 to %(most)s.", most=answers)
    elif len(placed) != len(set(placed)):
        wrong["ranking"] = _("Each answer has one place.")
    elif not all(said.order):
        wrong["ranking"] = _("A place without an answer says nothing.")
    elif said.all_bad and placed:
        wrong["ranking"] = _("Put the answers in order, or say that all are bad, not both.")
    elif not said.all_bad and (not placed or len(said.last) == answers):
        wrong["ranking"] = _("Put the answers in order: one at least, or say that all are bad.")
    if verdict.choice is not None or verdict.overall is not None or verdict.strength is not None:
        wrong["choice"] = _("A ranking has an order, not a choice or a score.")
    if verdict.criteria:
        wrong["criteria"] = _("A ranking is of the whole answer, not by criteria.")
    if verdict.rewrite is not None:
        wrong["rewrite"] = _("A ranking has no rewrite.")
    return wrong


def _listed(names: Sequence[str]) -> str:
    return listed(name[:40] for name in names[:3])
