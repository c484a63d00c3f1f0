"""Which models answer for a project."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.models import Project, Worker, utc_now
from app.serving.live_models import conversation, live_models, require_reward
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.messages import Message


def test_the_policy_in_force_answers_and_the_newest_reward_that_passed_judges(engine: Engine, cast: Cast, alive: None) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        base = project.policy_id
        tuned = factories.make_checkpoint(session, project.id, source="runs/3/checkpoint", parent_id=base)
        rewards = [
            factories.make_checkpoint(
                session, project.id, kind="reward", source=f"r{number}", parent_id=base, metrics={"gate_passed": passed}
            ).id
            for number, passed in enumerate((True, True, False))
        ]
        project.policy_id = tuned.id
        session.flush()
        live = live_models(session, project)
        assert (live.policy_id, live.models.policy) == (tuned.id, "runs/3/checkpoint")
        assert (live.reward_id, live.models.reward) == (rewards[1], "r1")
        assert live.models.day == project.created_at.date().isoformat()
        older = live_models(session, project, base)
        assert (older.policy_id, older.reward_id) == (base, rewards[1])
        project.policy_id = base
        session.flush()
        assert live_models(session, project).policy_id == base, "whoever promotes another is answered by it at once"


def test_before_anything_was_computed_the_base_model_answers(engine: Engine, cast: Cast, alive: None) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.policy_id = None
        session.flush()
        live = live_models(session, project)
        assert (live.policy_id, live.reward_id, live.models.policy) == (None, None, project.base_model)
        with pytest.raises(Conflict, match="No reward model"):
            require_reward(live)


def test_another_projects_policy_and_a_reward_are_no_policies_of_it(engine: Engine, cast: Cast, alive: None) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        reward = factories.make_checkpoint(session, project.id, kind="reward").id
        theirs = factories.make_checkpoint(session, cast.other).id
        for wrong in (reward, theirs, 10_000):
            with pytest.raises(NotFound):
                live_models(session, project, wrong)


def test_without_a_worker_it_is_said_at_once(engine: Engine, cast: Cast) -> None:
    with read_session(engine) as session, pytest.raises(Unavailable, match="No worker is running"):
        live_models(session, session.get_one(Project, cast.demo))
    with write_session(engine) as session:
        session.add(Worker(name="w", heartbeat_at=utc_now() - timedelta(minutes=1), message=Message("worker_idle")))
    with read_session(engine) as session, pytest.raises(Unavailable, match="No worker is running"):
        live_models(session, session.get_one(Project, cast.demo))


def test_a_prompt_is_read_as_an_import_would_read_it() -> None:
    assert conversation({"text": "Hello "}) == [{"role": "user", "content": "Hello"}]
    with pytest.raises(Invalid) as refused:
        conversation({"messages": [{"role": "assistant", "content": "Hi"}]})
    assert set(refused.value.fields) == {"prompt"}
