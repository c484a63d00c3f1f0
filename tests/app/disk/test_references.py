"""What keeps the weights of a checkpoint: each reason by itself."""

from __future__ import annotations

from sqlalchemy import Engine, select

from app.contenders.service import contender_of
from app.database.engine import write_session
from app.disk.references import referred
from app.models import Checkpoint, EvaluationCandidate, Project, Round
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.disk.loop import make_round


def test_an_open_round_keeps_its_candidate_and_an_ended_one_does_not(engine: Engine, settings: Settings, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        first = make_round(session, project, settings.data, 1, days_ago=9, promoted=False)
        make_round(session, project, settings.data, 2, days_ago=8, promoted=False)
        assert first.id not in referred(session, project, settings.data)
        round_ = session.scalar(select(Round).where(Round.number == 1))
        assert round_ is not None
        round_.state = "decision"
        session.flush()
        assert {first.id, round_.reward_id} <= referred(session, project, settings.data)


def test_an_open_evaluation_keeps_whom_it_compares(engine: Engine, settings: Settings, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        first = make_round(session, project, settings.data, 1, days_ago=9, promoted=False)
        second = make_round(session, project, settings.data, 2, days_ago=8, promoted=False)
        evaluation = factories.make_evaluation(session, project.id, state="open")
        session.add(EvaluationCandidate(evaluation_id=evaluation.id, contender_id=contender_of(session, first).id))
        session.flush()
        assert {first.id, second.id} & referred(session, project, settings.data) == {first.id}


def test_a_lineage_is_kept_to_its_root_with_the_rewards_it_was_trained_against(
    engine: Engine, settings: Settings, cast: Cast
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        rejected = make_round(session, project, settings.data, 1, days_ago=9, promoted=False)
        grown = make_round(session, project, settings.data, 2, days_ago=8, promoted=True)
        grown.parent_id = rejected.id
        session.flush()
        kept = referred(session, project, settings.data)
        rewards = session.scalars(select(Checkpoint.id).where(Checkpoint.kind == "reward"))
        assert {grown.id, rejected.id, *rewards} <= kept


def test_of_rewards_the_newest_stays_and_the_newest_that_passed(engine: Engine, settings: Settings, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number in (1, 2, 3):
            make_round(session, project, settings.data, number, days_ago=9, promoted=False)
        rewards = session.scalars(select(Checkpoint).where(Checkpoint.kind == "reward").order_by(Checkpoint.id)).all()
        rewards[0].metrics = {"gate_passed": True}
        session.flush()
        kept = referred(session, project, settings.data)
        assert [one.id in kept for one in rewards] == [True, False, True]
