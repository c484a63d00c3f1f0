"""An evaluation as its page tells it: where each candidate stands, in words, and what is still to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contenders.service import names
from app.evaluation import drawing, service
from app.language.formats import count, percent
from app.language.languages import _
from app.language.run_messages import told
from app.models import Evaluation, EvaluationCandidate, EvaluationTask, Label
from trainer.contract.messages import Message


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate. `words` say how often it wins; empty until something was counted."""

    id: int
    contender_id: int
    name: Message
    promotable: bool
    figures: Mapping[str, Any]  # as app.evaluation.look.standing_of makes them; empty until the first look
    words: str
    alarm: Message | None = None  # its score rose, and people turned it down

    @property
    def drawn_alt(self) -> str:
        return drawing.alt(self.figures["track"])

    @property
    def table(self) -> dict[str, Any]:
        """The drawing as numbers: every tenth or so of its points, and the last."""
        track = self.figures["track"]
        step = max(1, len(track) // 10)
        rows = [row for place, row in enumerate(track) if place % step == 0 or place == len(track) - 1]
        return {"heads": [_("Prompts"), _("From"), _("To")], "rows": rows}


@dataclass(frozen=True, slots=True)
class EvaluationStory:
    evaluation: Evaluation
    baseline: Message
    candidates: list[Standing]
    given: int  # verdicts in force, those on prompts that are not answered in full included
    budget: int  # verdicts on all that may be promoted
    waits_for: Evaluation | None  # in which people judge now; this one is opened once they have
    beside: str  # who of a candidate and of best of n won by more; empty while that is not known

    @property
    def drawn(self) -> list[Standing]:
        """Those with an interval to draw."""
        return [one for one in self.candidates if len(one.figures.get("track", ())) > 1]


def tell(session: Session, evaluation: Evaluation) -> EvaluationStory:
    candidates = service.candidates_of(session, evaluation)
    called = names(session, [evaluation.baseline_id, *(one.contender_id for one in candidates)])
    standings = [
        Standing(one.id, one.contender_id, name, one.promotable, one.standing or {}, words_of(one.standing, name), one.alarm)
        for one in candidates
        for name in [called[one.contender_id]]
    ]
    given = (
        select(func.count())
        .select_from(Label)
        .join(EvaluationTask, EvaluationTask.task_id == Label.task_id)
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .where(EvaluationCandidate.evaluation_id == evaluation.id, Label.current, ~Label.surplus)
    )
    return EvaluationStory(
        evaluation,
        called[evaluation.baseline_id],
        standings,
        session.scalar(given) or 0,
        evaluation.planned * evaluation.pairs * evaluation.overlap * sum(one.promotable for one in candidates),
        service.asked_before(session, evaluation) if evaluation.state == "answering" else None,
        beside(standings),
    )


def words_of(figures: Mapping[str, Any] | None, name: Message) -> str:
    """ "Policy of round 7 wins 58% (51%-65%) of 143 blind comparisons by 6 people." """
    if not figures or not figures["verdicts"]:
        return ""
    return _(
        "%(name)s wins %(share)s (%(low)s to %(high)s) of %(comparisons)s by %(people)s.",
        name=told(name),
        share=percent(figures["mean"]),
        low=percent(figures["lower"]),
        high=percent(figures["upper"]),
        comparisons=count(int(figures["verdicts"]), "blind comparison"),
        people=count(int(figures["people"]), "person"),
    )


def beside(standings: list[Standing]) -> str:
    """How the best candidate did beside best of n of the old policy: both against the policy in force."""
    counted = [one for one in standings if one.figures.get("verdicts")]
    candidates = [one for one in counted if one.promotable]
    others = [one for one in counted if not one.promotable]
    if not candidates or not others:
        return ""
    best, other = max(candidates, key=lambda one: float(one.figures["mean"])), others[0]
    said = {
        "name": told(best.name),
        "other": told(other.name),
        "mine": percent(best.figures["mean"]),
        "theirs": percent(other.figures["mean"]),
    }
    if best.figures["lower"] > other.figures["upper"]:
        return _(
            "Against the same policy %(name)s wins %(mine)s, and %(other)s, which trains nothing, %(theirs)s: "
            "the training did more.",
            **said,
        )
    if other.figures["lower"] > best.figures["upper"]:
        return _(
            "Against the same policy %(name)s wins %(mine)s, and %(other)s, which trains nothing, %(theirs)s: "
            "choosing did more than the training.",
            **said,
        )
    return _(
        "Against the same policy %(name)s wins %(mine)s, and %(other)s, which trains nothing, %(theirs)s. Their "
        "intervals overlap: which of the two people like better is not shown.",
        **said,
    )
