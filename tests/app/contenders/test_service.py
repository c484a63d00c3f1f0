"""Contenders: one of each, made when it is asked for, and called by what wrote."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from app.contenders.service import contender_of, get_contender, list_contenders, name_of
from app.database.engine import read_session, write_session
from app.errors import NotFound
from app.models import Checkpoint, Contender, Drawn, Project
from tests.app import factories
from tests.app.conftest import Cast
from tests.postgres import engine as on_postgres
from tests.postgres import server
from trainer.contract.english import english

__all__ = ["on_postgres", "server"]


def base_of(session: object, project_id: int) -> Checkpoint:
    base = session.scalar(select(Checkpoint).where(Checkpoint.project_id == project_id))  # type: ignore[attr-defined]
    assert isinstance(base, Checkpoint)
    return base


def test_a_policy_and_its_best_of_n_under_each_reward_are_one_contender_each(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        base = base_of(session, cast.demo)
        rewards = [factories.make_checkpoint(session, cast.demo, kind="reward") for _ in range(2)]
        ways = [Drawn(), *(Drawn(n, reward.id) for n in (2, 4) for reward in rewards)]
        first = [contender_of(session, base, how).id for how in ways]
        assert len(set(first)) == 5
        assert [contender_of(session, base, how).id for how in ways] == first
        assert [one.id for one in list_contenders(session, cast.demo)] == sorted(first, reverse=True)


def test_of_two_workers_that_first_write_for_a_policy_one_makes_its_contender(on_postgres: Engine) -> None:
    with write_session(on_postgres) as session:
        base_id = base_of(session, factories.make_project(session).id).id
    together = threading.Barrier(2)

    def ask(_number: int) -> int:
        with write_session(on_postgres) as session:
            base = session.get_one(Checkpoint, base_id)
            together.wait(timeout=10)
            return contender_of(session, base).id

    with ThreadPoolExecutor(2) as threads:
        found = set(threads.map(ask, range(2)))
    with read_session(on_postgres) as session:
        made = session.scalar(select(func.count()).select_from(Contender).where(Contender.checkpoint_id == base_id))
    assert len(found) == made == 1


def test_ours_are_called_by_their_checkpoint_and_others_by_their_own_name(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        base = base_of(session, cast.demo)
        reward = factories.make_checkpoint(session, cast.demo, kind="reward")
        other = Contender(project_id=cast.demo, kind="imported", name="gpt-x")
        session.add(other)
        session.flush()
        called = [
            english(name_of(session, one))
            for one in (contender_of(session, base), contender_of(session, base, Drawn(4, reward.id)), other)
        ]
    assert called == ["Base model", "Base model, best of 4", "gpt-x"]


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"kind": "policy"}, "ours_have_checkpoints"),
        ({"kind": "imported"}, "others_have_names"),
        ({"kind": "outside", "name": "x"}, "outside_is_registered"),
        ({"kind": "imported", "name": "x", "best_of": 2}, "choosing_needs_several"),
        ({"kind": "best_of", "checkpoint_id": 1, "best_of": 4}, "choosing_needs_a_reward"),
    ],
)
def test_each_kind_has_what_it_needs_and_nothing_else(engine: Engine, project: Project, values: dict, constraint: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(IntegrityError, match=constraint), write_session(engine) as session:
        session.add(Contender(project_id=project.id, **values))


def test_a_name_is_one_contenders_in_a_project_and_free_in_another(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.add_all(Contender(project_id=project_id, kind="imported", name="gpt-x") for project_id in (cast.demo, cast.other))
        outside = factories.make_outside(session).id
    with pytest.raises(IntegrityError, match="UNIQUE constraint failed"), write_session(engine) as session:
        session.add(Contender(project_id=cast.demo, kind="outside", name="gpt-x", outside_id=outside))


def test_a_contender_that_is_not_there_is_not_found(engine: Engine, cast: Cast) -> None:
    with read_session(engine) as session, pytest.raises(NotFound):
        get_contender(session, 999)
