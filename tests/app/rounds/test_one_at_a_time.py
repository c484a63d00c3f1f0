"""People judge in one evaluation of a project at a time: a further one waits until that has ended; the database holds it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.database.upgrade import upgrade_to_head
from app.evaluation import service as evaluations
from app.models import Evaluation, EvaluationCandidate, EvaluationTask, Round, Seat, Task
from app.rounds import people_decide, service
from tests.app.conftest import Cast
from tests.app.evaluation.judged import Judged, begin, evaluation_of, round_of
from trainer.worker.chores import Looks, tidy_the_queue


def another(session: Session, judged: Judged, state: str) -> Evaluation:
    """One of the same contenders, asked for outside of rounds."""
    its = session.get_one(Evaluation, judged.evaluation)
    names = ("project_id", "baseline_id", "budget", "error", "flag_margin", "overlap", "pairs", "prompt_ids")
    made = Evaluation(state=state, **{name: getattr(its, name) for name in names})
    session.add(made)
    session.flush()
    for one in evaluations.candidates_of(session, its):
        session.add(EvaluationCandidate(evaluation_id=made.id, contender_id=one.contender_id, promotable=one.promotable))
    session.flush()
    return made


def test_a_rounds_evaluation_is_opened_once_people_are_done_with_another(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient]
) -> None:
    judged = begin(engine, prompts=10, train=5)
    with write_session(engine) as session:
        round_, its = session.get_one(Round, judged.round), session.get_one(Evaluation, judged.evaluation)
        round_.state, its.state, its.opened_at = "sample", "answering", None
        session.flush()
        other = another(session, judged, "open").id
        service.advance_round(session, round_)
    assert (round_of(engine, judged).state, evaluation_of(engine, judged).state) == ("sample", "answering")
    page = as_user("Ada").get(f"/evaluations/{judged.evaluation}").text
    assert f'<a href="/evaluations/{other}">evaluation {other}</a>' in page
    assert "one at a time" in page
    with write_session(engine) as session:
        evaluations.cancel(session, session.get_one(Evaluation, other))
        assert service.undone_rounds(session, judged.project)[0].id == judged.round, "the worker's next look finds it"
        service.advance_round(session, session.get_one(Round, judged.round))
    assert (round_of(engine, judged).state, evaluation_of(engine, judged).state) == ("evaluation", "open")


def test_one_outside_of_rounds_waits_for_that_of_a_round(engine: Engine) -> None:
    judged = begin(engine, prompts=10, train=5)
    with write_session(engine) as session:
        other = another(session, judged, "answering").id
    people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        assert session.get_one(Evaluation, other).state == "answering"


def test_of_two_that_open_at_once_the_database_takes_one(engine: Engine) -> None:
    judged = begin(engine, prompts=10, train=5)
    with pytest.raises(IntegrityError), write_session(engine) as session:
        another(session, judged, "open")


def test_where_people_judged_in_two_the_one_outside_of_rounds_is_ended_by_the_upgrade(engine: Engine) -> None:
    judged = begin(engine, prompts=10, train=5)
    people_decide.look_after(engine, judged.project)
    with write_session(engine) as session:
        session.execute(text("DROP INDEX uq_evaluations_open"))
        others = [another(session, judged, "open").id for _ in range(2)]
        theirs = session.scalars(select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == others[0])).first()
        assert theirs is not None
        rows = session.scalars(select(EvaluationTask).order_by(EvaluationTask.task_id)).all()
        asked = [row.task_id for row in rows]
        moved = asked[: len(asked) // 2]
        assert moved
        for row in rows[: len(moved)]:
            row.candidate_id = theirs.id
        session.flush()
        session.execute(text("ALTER TABLE evaluation_candidates DROP COLUMN foretold"))
        session.execute(text("UPDATE alembic_version SET version_num = '7d2f94a1c3be'"))
    upgrade_to_head(engine.url.render_as_string(hide_password=False))
    with read_session(engine) as session:
        assert session.get_one(Evaluation, judged.evaluation).state == "open"
        assert all(session.get_one(Evaluation, other).state == "cancelled" for other in others)
        assert all(session.get_one(Evaluation, other).ended_at is not None for other in others)
        assert evaluations.with_leftovers(session) == [others[0]]
    looks = Looks()
    tidy_the_queue(engine, looks)
    with read_session(engine) as session:
        assert evaluations.with_leftovers(session) == []
        left = session.scalars(select(Task.id).where(Task.id.in_(asked))).all()
        assert sorted(left) == asked[len(moved) :], "of one that goes on nothing is taken back"
        assert not session.scalars(select(Seat.id).where(Seat.task_id.in_(moved))).all()
