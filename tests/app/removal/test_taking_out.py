"""What a deleted project leaves is taken out in small bites: everything of it and nothing of any other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.models import Base, Contender, Generation, Label, Project, Prompt, Run, Seat, Task, utc_now
from app.removal import taking_out
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.removal.whole import delete, fill, left, take_all_out


@pytest.fixture
def data(settings: Settings) -> Path:
    return settings.data.resolve()


@pytest.fixture
def deleted(engine: Engine, cast: Cast, data: Path) -> None:
    """Two full projects, of which one is deleted."""
    with write_session(engine) as session:
        for project_id in (cast.demo, cast.other):
            fill(session, session.get_one(Project, project_id), cast.mary, data)
        delete(session, data, session.get_one(Project, cast.demo), "Demo", cast.grace)


def test_the_project_it_is_tried_on_has_a_row_in_every_table_that_can_point_at_one(
    engine: Engine, cast: Cast, deleted: None
) -> None:
    """A new table of a project's has to be added to what is taken out, and to `fill`."""
    belongs = {"projects"}
    while True:
        more = {
            table.name
            for table in Base.metadata.tables.values()
            if any(key.column.table.name in belongs for key in table.foreign_keys)
        }
        if more <= belongs:
            break
        belongs |= more
    assert set(left(engine, cast.other)) == belongs - {"projects", "audit"}


def test_everything_of_it_goes_and_nothing_of_another(engine: Engine, cast: Cast, data: Path, deleted: None) -> None:
    before = left(engine, cast.other)

    take_all_out(engine, data)

    assert left(engine, cast.demo) == {}
    assert left(engine, cast.other) == before
    assert not (data / "texts" / "demo").exists()
    assert (data / "texts" / "other" / "tales.txt").exists()
    with read_session(engine) as session:
        kept = {str(run_id) for run_id in session.scalars(select(Run.id))}
    assert {folder.name for folder in (data / "runs").iterdir()} == kept


def test_its_address_is_free_and_a_mark_of_it_stays(engine: Engine, cast: Cast, data: Path, deleted: None) -> None:
    take_all_out(engine, data)
    with write_session(engine) as session:
        mark = session.get_one(Project, cast.demo)
        assert (mark.name, mark.base_model, mark.criteria) == ("Demo", "", [])
        assert factories.make_project(session, "demo", name="Demo").id > cast.demo
    assert not taking_out.take_out(engine, data, 0.1)


def test_it_waits_until_nothing_computes_for_it(engine: Engine, cast: Cast, data: Path) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        run_id = factories.make_run(session, demo.id, state="running").id
        delete(session, data, demo, "Demo", cast.grace)
    assert not taking_out.take_out(engine, data, 0.1)
    with write_session(engine) as session:
        session.get_one(Run, run_id).state = "cancelled"
    take_all_out(engine, data)
    assert left(engine, cast.demo) == {}


def test_what_was_interrupted_goes_on(engine: Engine, cast: Cast, data: Path, deleted: None) -> None:
    for _ in range(50):
        if not taking_out.take_out(engine, data, budget_s=0.0):
            break
    assert left(engine, cast.demo) == {}


def test_a_verdict_that_comes_late_is_taken_out_too(engine: Engine, cast: Cast, data: Path, deleted: None) -> None:
    """One that was being stored while the project was deleted."""
    taking_out.take_out(engine, data, budget_s=0.0)
    with write_session(engine) as session:
        task = session.scalars(select(Task).where(Task.project_id == cast.demo)).first()
        assert task is not None
        late = {"task_id": task.id, "left_generation_id": task.first_generation_id, "annotator_id": cast.alan}
        shared = {"project_id": cast.demo, "client_id": "late", "payload_hash": "", "kind": "comparison", "choice": "tie"}
        session.add(Label(**late, **shared, guideline_version=1, interface_version="1", served_reason="random"))
    take_all_out(engine, data)
    assert left(engine, cast.demo) == {}


def test_a_folder_that_cannot_be_removed_holds_nothing_up_and_is_no_later_runs(
    engine: Engine, cast: Cast, data: Path, deleted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_session(engine) as session:
        run_id = session.scalars(select(Run.id).where(Run.project_id == cast.demo)).first()
    stuck, really = data / "runs" / str(run_id), shutil.rmtree

    def remove(folder: Path, ignore_errors: bool = False) -> None:
        if folder != stuck:
            really(folder, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", remove)
    take_all_out(engine, data)
    assert left(engine, cast.demo) == {}
    assert not stuck.exists()
    assert stuck.with_name(f"{run_id}.left").exists()


def test_no_bite_holds_the_writers_lock_for_long(engine: Engine, cast: Cast, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median bite is far under 100 ms, also on a machine that does other things. A fast one takes larger bites: not here."""
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        _many(session.connection(), demo, cast.mary, 1_500)
        delete(session, data, demo, "Demo", cast.grace)
    held: list[float] = []

    @contextmanager
    def timed(engine: Engine) -> Iterator[Session]:
        with write_session(engine) as session:
            began = time.perf_counter()
            yield session
        held.append(time.perf_counter() - began)

    monkeypatch.setattr(taking_out, "write_session", timed)
    monkeypatch.setattr(taking_out, "MOST", 500)
    take_all_out(engine, data)
    assert left(engine, cast.demo) == {}
    assert len(held) > 10
    assert sorted(held)[len(held) // 2] < 0.1


def _many(connection: Connection, project: Project, annotator_id: int, count: int) -> None:
    """So many tasks of one prompt each, with two answers, a seat and a label."""
    ids = range(1_000, 1_000 + count)
    run_id = connection.execute(
        insert(Run).values(project_id=project.id, kind="sample", state="done", config={}, message=None).returning(Run.id)
    ).scalar_one()
    connection.execute(
        insert(Prompt),
        [{"id": n, "project_id": project.id, "messages": [], "digest": str(n), "split": "train"} for n in ids],
    )
    policy = insert(Contender).values(project_id=project.id, kind="policy", checkpoint_id=project.policy_id)
    answer: dict[str, Any] = {"contender_id": connection.execute(policy.returning(Contender.id)).scalar_one()}
    answer |= {"checkpoint_id": project.policy_id, "run_id": run_id, "settings": {}, "seed": 1, "text": "x" * 200}
    answer |= {"token_ids": [], "finish_reason": "eos"}
    connection.execute(
        insert(Generation),
        [{**answer, "id": 2 * n + side, "prompt_id": n, "number": side} for n in ids for side in (0, 1)],
    )
    connection.execute(
        insert(Task),
        [
            {
                "id": n,
                "project_id": project.id,
                "prompt_id": n,
                "kind": "comparison",
                "first_generation_id": 2 * n,
                "second_generation_id": 2 * n + 1,
            }
            for n in ids
        ],
    )
    seat = {"project_id": project.id, "number": 1, "state": "done", "annotator_id": annotator_id, "claimed_at": utc_now()}
    connection.execute(insert(Seat), [{**seat, "id": n, "task_id": n} for n in ids])
    label = {"project_id": project.id, "annotator_id": annotator_id, "payload_hash": "", "kind": "comparison", "choice": "left"}
    label |= {"guideline_version": 1, "interface_version": "1", "served_reason": "random"}
    connection.execute(
        insert(Label),
        [
            {
                **label,
                "task_id": n,
                "seat_id": n,
                "client_id": str(n),
                "left_generation_id": 2 * n,
                "right_generation_id": 2 * n + 1,
            }
            for n in ids
        ],
    )
    assert connection.execute(select(func.count()).select_from(Label)).scalar_one() == count
