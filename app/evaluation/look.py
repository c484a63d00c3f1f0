"""A look at an evaluation: where each candidate stands, and whether people have said enough. It may be taken at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import read_session
from app.evaluation import evidence, service
from app.evaluation.alarm import raise_alarm
from app.evaluation.decision import EQUAL, Verdict, decide
from app.evaluation.planning import expected
from app.models import Evaluation, EvaluationCandidate
from trainer.contract.messages import Message

MOST_DRAWN: Final = 200  # points of the interval that are kept for its drawing


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. `decision` is none while people are asked on."""

    seen: str  # evidence.stamp
    standings: Mapping[int, dict[str, Any]]  # by candidate (of evaluation_candidates)
    decision: str | None
    winner: int | None  # of evaluation_candidates


def look(engine: Engine, evaluation_id: int) -> Look | None:
    """None where nothing was said since the last look. Computes outside of any transaction."""
    with read_session(engine) as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        seen = evidence.stamp(session, evaluation)
        if evaluation.state != "open" or seen == evaluation.seen:
            return None
        said = evidence.gather(session, evaluation)
        candidates = service.candidates_of(session, evaluation)
        weigh = partial(decide, error=evaluation.error, flag_margin=evaluation.flag_margin, planned=evaluation.planned)
    decided = weigh({one.id: said[one.id].evidence for one in candidates if one.promotable})
    verdicts = dict(decided.verdicts)
    for one in candidates:  # with an error of its own, for it cannot be promoted
        if not one.promotable:
            verdicts |= weigh({one.id: said[one.id].evidence}, beside=True).verdicts
    standings = {key: standing_of(verdict, said[key]) for key, verdict in verdicts.items()}
    decision = None if not decided.over else "rejected" if decided.promoted is None else "promoted"
    return Look(seen, standings, decision, decided.promoted)


def foresee(engine: Engine, evaluation_id: int) -> list[dict[str, Any]] | None:
    """What it will take, by true win rates; None where that was said already. It is played many times, which takes seconds."""
    with read_session(engine) as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        if evaluation.expected is not None:
            return None
        ties, flags = evidence.usual(session, evaluation.project_id)
        may_win = sum(one.promotable for one in service.candidates_of(session, evaluation))
        figures = (evaluation.planned, evaluation.pairs * evaluation.overlap, evaluation.error, evaluation.flag_margin)
    planned, each, error, margin = figures
    found = expected(
        planned=planned,
        verdicts_per_unit=each,
        tie_share=ties,
        candidates=max(1, may_win),
        flag_shares=flags,
        error=error,
        flag_margin=margin,
    )
    return [asdict(one) for one in found]


def write_down(session: Session, evaluation: Evaluation, found: Look) -> bool:
    """Keep what was seen; False where somebody was faster. The project is held. What a decision leads to is the caller's."""
    if evaluation.state != "open" or evidence.stamp(session, evaluation) != found.seen:
        return False
    evaluation.seen = found.seen
    candidates = service.candidates_of(session, evaluation)
    may_win = {one.id: found.standings[one.id] for one in candidates if one.promotable}
    if found.decision == "rejected" and not any(standing["units"] for standing in may_win.values()):
        service.end_without_verdicts(session, evaluation)
        return True
    for candidate in candidates:
        candidate.standing = found.standings[candidate.id]
    session.flush()
    for candidate in candidates:
        if candidate.promotable and against(found.standings[candidate.id]):
            raise_alarm(session, evaluation, candidate, figures_of(found.standings[candidate.id]))
    if found.decision is not None:
        winner = session.get_one(EvaluationCandidate, found.winner) if found.winner is not None else None
        reason = reason_of(may_win, found.winner)
        service.close(session, evaluation, found.decision, winner.contender_id if winner else None, reason)
    return True


def against(standing: Mapping[str, Any]) -> bool:
    """Whether people turned a candidate down, and did not lean towards it: more wins than losses, though too few to show
    anything, contradict no score that rose. Nor does an evaluation that ended before anybody was asked.
    """
    if not standing["rejects"] or not standing["units"]:
        return False
    return float(standing["mean"]) <= EQUAL or bool(standing["worse_flags"])


def reason_of(standings: Mapping[int, dict[str, Any]], winner: int | None) -> Message:
    """The decision in words; `standings` of those that may be promoted, of one of which people have said something."""
    if winner is not None:
        return figures_of(standings[winner])
    judged = [standing for standing in standings.values() if standing["units"]]  # of the others nobody was asked
    figures = figures_of(max(judged, key=lambda standing: float(standing["mean"])))
    if any(standing["worse_flags"] for standing in judged):
        return Message("flagged_more_often", figures=figures)
    if all(standing["spent"] for standing in judged):
        return Message("budget_spent", figures=figures)
    return Message("people_do_not_prefer_it", figures=figures)


def standing_of(verdict: Verdict, said: evidence.Said) -> dict[str, Any]:
    """As JSON: what pages show of a candidate. Its verdicts are those that its figures are made of."""
    step = max(1, -(-len(verdict.track) // MOST_DRAWN))
    drawn = [point for place, point in enumerate(verdict.track) if place % step == 0 or place == len(verdict.track) - 1]
    return {
        "units": verdict.units,
        **said.counted(verdict.units),
        "mean": verdict.mean,
        "lower": verdict.lower,
        "upper": verdict.upper,
        "promotes": verdict.promotes,
        "rejects": verdict.rejects,
        "worse_flags": list(verdict.worse_flags),
        "open_flags": list(verdict.open_flags),
        "flags_since": dict(said.flags_since),
        "spent": verdict.spent,
        "saved": verdict.saved,
        "track": [list(point) for point in drawn],
    }


def figures_of(standing: Mapping[str, Any]) -> Message:
    return Message(
        "people_prefer_it",
        accuracy=float(standing["mean"]),
        low=float(standing["lower"]),
        high=float(standing["upper"]),
        count=int(standing["verdicts"]),
        people=int(standing["people"]),
    )
