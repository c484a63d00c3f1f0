"""What people said of a round's candidates, looked at and done: the worker's part of a blind evaluation."""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.errors import Refusal
from app.evaluation import asking, resting, service
from app.evaluation.look import foresee, look, write_down
from app.models import Contender, Evaluation, Project, Round, utc_now
from app.rounds import announced
from app.rounds.promotion import promote, reject
from app.runs.checkpoints import current_policy, get_checkpoint


def look_after(engine: Engine, project_id: int, *, asks: bool = True) -> None:
    """Look at each evaluation of a project: ask on, or do what people have decided. Two who look at once do it once.

    `asks`: whether people may be asked more; what they are asked already, they may answer.
    """
    with read_session(engine) as session:
        found = [(one.id, one.state) for one in service.live_evaluations(session, project_id)]
    for evaluation_id, state in found:
        if (expected := foresee(engine, evaluation_id)) is not None:
            with write_session(engine) as session:
                session.get_one(Evaluation, evaluation_id).expected = expected
        if state == "answering":
            _open_when_answered(engine, evaluation_id)
            continue
        seen = look(engine, evaluation_id)
        with read_session(engine) as session:
            evaluation = session.get_one(Evaluation, evaluation_id)
            due = asks and (asking.is_due(session, evaluation) or bool(asking.short_of_verdicts(session, evaluation)))
            rest = resting.resting(session, evaluation, utc_now())
            changed = rest != resting.rests(session, evaluation)
        if seen is None and not due and not changed:
            continue
        with write_session(engine) as session:
            project = hold(session, session.get_one(Project, project_id))
            evaluation = session.get_one(Evaluation, evaluation_id, populate_existing=True)
            resting.write_down(session, evaluation, rest if evaluation.state == "open" else set())
            if seen is not None and write_down(session, evaluation, seen) and seen.decision is not None:
                _decide(session, project, evaluation)
            elif asks:
                asking.ask_others(session, evaluation)
                asking.go_on(session, project, evaluation)


def _open_when_answered(engine: Engine, evaluation_id: int) -> None:
    """Of an evaluation outside of rounds: a round opens its own."""
    with write_session(engine) as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        if evaluation.round_id is not None:
            return
        hold(session, session.get_one(Project, evaluation.project_id))
        session.refresh(evaluation)
        if evaluation.state != "answering" or service.still_answering(session, evaluation):
            return
        if service.asked_before(session, evaluation) is not None:
            return
        if not service.open_to_people(session, evaluation):
            service.end_without_verdicts(session, evaluation)


def _decide(session: Session, project: Project, evaluation: Evaluation) -> None:
    """What people decided, done or laid before an admin, as the project wants it; and so is it where they decided nothing."""
    details: dict[str, Any] = {"decision": evaluation.decision, "round": evaluation.round_id}
    if evaluation.decision is None:
        record(session, None, "evaluation.undecided", f"evaluation {evaluation.id}", {"round": evaluation.round_id}, project.id)
    else:
        record(session, None, "evaluation.decided", f"evaluation {evaluation.id}", details, project.id)
    if evaluation.round_id is None:
        return
    round_ = hold(session, session.get_one(Round, evaluation.round_id))
    if round_.state != "evaluation":
        return
    round_.state = "decision"
    session.flush()
    decided = evaluation.decision is not None
    if decided and project.evaluation_promotes and (evaluation.winner_id is None or _in_force(session, project, evaluation)):
        with contextlib.suppress(Refusal):  # it cannot be promoted any more, for instance because it was by hand
            with session.begin_nested():
                _do(session, round_, evaluation)
            return
    announced.waits(session, round_, evaluation.reason)


def _do(session: Session, round_: Round, evaluation: Evaluation) -> None:
    if evaluation.winner_id is None:
        reject(session, round_, None, said=evaluation.reason)
        return
    winner = session.get_one(Contender, evaluation.winner_id)
    promote(session, get_checkpoint(session, winner.checkpoint_id or 0), None, confirmed=True, said=evaluation.reason)


def _in_force(session: Session, project: Project, evaluation: Evaluation) -> bool:
    """Whether people compared with the policy that a promotion would replace: somebody may have promoted another meanwhile."""
    return session.get_one(Contender, evaluation.baseline_id).checkpoint_id == current_policy(session, project).id
