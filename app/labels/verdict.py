"""What a person may say about a task, checked against the task and the project's words before it is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from app.errors import Invalid
from app.language.formats import listed
from app.language.languages import _

CHOICES = ("left", "right", "tie", "both_bad")
SKIP_REASONS = ("not_my_subject", "cannot_read", "broken", "upsetting", "other")
SIDES = {"comparison": ("left", "right"), "rating": ("response",)}


@dataclass(frozen=True, slots=True)
class Rewrite:
    side: str  # left, right; a rating's only answer is "response"
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict as its author sent it. `choice` belongs to a comparison, `overall` to a rating."""

    client_id: str
    choice: str | None = None
    strength: int | None = None  # 1 slightly, 2 clearly, 3 much
    overall: int | None = None  # 1 to 5
    criteria: Mapping[str, str | int] = field(default_factory=dict)  # a side or "tie"; 1 to 5 in a rating
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)  # per side
    rewrite: Rewrite | None = None
    comment: str = ""
    active_ms: int | None = None  # the page was seen and somebody was there
    wall_ms: int | None = None  # since the page showed the task, which it may have fetched ahead

    def digest(self, task_id: int, annotator_id: int) -> str:
        """SHA-256 of everything said, by whom and about what: tells a repeated send from a different verdict."""
        fields = asdict(self)
        if self.wall_ms is None:
            del fields["wall_ms"]  # verdicts stored before there was such a field keep their digest
        said = json.dumps([task_id, annotator_id, fields], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()


def check(verdict: Verdict, kind: str, criteria: Collection[str], flags: Collection[str]) -> None:
    """Refuse a verdict that does not answer a task of this kind. Raises Invalid with one sentence per field.

    `criteria` and `flags`: every key the project has or once had.
    """
    wrong = _comparison_faults(verdict) if kind == "comparison" else _rating_faults(verdict)
    if unknown := [key for key in verdict.criteria if key not in criteria]:
        wrong["criteria"] = _("This project has no criterion called %(names)s.", names=_listed(unknown))
    sides = SIDES[kind]
    for side, ticked in verdict.flags.items():
        if side not in sides:
            wrong["flags"] = _("Flags belong to %(sides)s.", sides=listed(sides))
        elif unknown := [flag for flag in ticked if flag not in flags]:
            wrong["flags"] = _("This project has no flag called %(names)s.", names=_listed(unknown))
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


def _listed(names: Sequence[str]) -> str:
    return listed(name[:40] for name in names[:3])
