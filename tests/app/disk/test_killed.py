"""A prune that is killed: at whichever step, nothing that is referred to is lost, and a later one removes all that was to go."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select

from app.database.engine import make_engine, read_session, write_session
from app.disk.pruning import free_what_is_due
from app.disk.references import referred
from app.models import Checkpoint, Project, utc_now
from app.settings import Settings
from tests.app.conftest import Cast
from tests.app.disk.loop import make_round
from trainer.worker.chores import Looks, free_the_disk

STEPS = ("os.remove", "os.rmdir")  # as the interpreter announces them, before it does them
WEEK = timedelta(days=7)


@pytest.fixture
def before(engine: Engine, settings: Settings, cast: Cast) -> Path:
    """A data folder with rounds of which some is to go and some to stay, closed, to be copied."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number in (1, 2, 3):
            last = make_round(session, project, settings.data, number, days_ago=41 - number, promoted=number == 2)
        export = settings.data / "runs" / str(last.run_id) / "export"
        export.mkdir()
        (export / "model.safetensors").write_bytes(b"e" * 500)
    engine.dispose()
    return settings.data


def copy(before: Path, to: Path) -> tuple[Engine, Path]:
    shutil.copytree(before, to)
    return make_engine(f"sqlite:///{to / 'tastemaker.db'}"), to


def prune(data: Path, project_id: int, killed_at: int | None) -> int:
    """In a process of its own, which is killed before the step of that number; its exit status, or how many steps there are."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        steps = count()
        here = os.getpid()

        def step() -> None:
            if next(steps) == killed_at and os.getpid() == here:
                os.kill(here, signal.SIGKILL)

        engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
        event.listen(engine, "commit", lambda _connection: step())
        sys.addaudithook(lambda name, _arguments: step() if name in STEPS else None)
        free_what_is_due(engine, data, project_id, utc_now() - WEEK)
        os._exit(next(steps))
    except BaseException:
        os._exit(255)


def left(data: Path) -> set[str]:
    """All files and folders below the run folders."""
    return {str(path.relative_to(data)) for path in (data / "runs").rglob("*")}


def assert_nothing_is_lost(engine: Engine, data: Path, project_id: int) -> None:
    with read_session(engine) as session:
        kept = referred(session, session.get_one(Project, project_id), data)
        for one in session.scalars(select(Checkpoint).where(Checkpoint.project_id == project_id, Checkpoint.run_id.is_not(None))):
            there = (data / one.source / "adapter_model.safetensors").is_file()
            assert there or one.pruned_at is not None, "weights that nobody was told are gone"
            assert there or one.id not in kept
            assert (data / one.source / "manifest.json").is_file()


def steps_of(before: Path, tmp: Path, project_id: int) -> Iterator[int]:
    engine, data = copy(before, tmp / "whole")
    engine.dispose()
    steps = prune(data, project_id, None)
    assert 10 < steps < 100
    yield from range(steps)


def test_killed_at_any_step_it_loses_nothing_and_a_later_one_ends_it(
    before: Path, cast: Cast, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp = tmp_path_factory.mktemp("killed")
    whole = tmp / "whole"
    for step in steps_of(before, tmp, cast.demo):
        engine, data = copy(before, tmp / str(step))
        assert prune(data, cast.demo, step) == -signal.SIGKILL
        assert_nothing_is_lost(engine, data, cast.demo)

        free_the_disk(engine, data, Looks())  # the worker's look: the project keeps all for ever
        with read_session(engine) as session:
            gone = session.scalars(select(Checkpoint).where(Checkpoint.pruned_at.is_not(None))).all()
        for one in gone:
            assert not list((data / one.source).glob("*.safetensors")), f"killed before step {step}"
            assert not (data / one.source).with_name("export").exists()
        assert_nothing_is_lost(engine, data, cast.demo)

        free_what_is_due(engine, data, cast.demo, utc_now() - WEEK)
        assert left(data) == left(whole), f"killed before step {step}"
        assert_nothing_is_lost(engine, data, cast.demo)
        engine.dispose()
        shutil.rmtree(data)


def test_what_is_referred_to_only_after_the_mark_is_removed_all_the_same(
    engine: Engine, before: Path, settings: Settings, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that went on from it is promoted between the mark and the removal: nobody may use the weights any more."""
    with write_session(engine) as session:
        one = session.scalars(select(Checkpoint).where(Checkpoint.kind == "policy", Checkpoint.run_id.is_not(None))).first()
        assert one is not None
        child = make_round(session, session.get_one(Project, cast.demo), settings.data, 4, days_ago=1, promoted=False)
        child.parent_id, one.pruned_at = one.id, utc_now()
        marked, weights = one.id, settings.data / one.source / "adapter_model.safetensors"
        child.promoted_at = utc_now()
    with read_session(engine) as session:
        assert marked in referred(session, session.get_one(Project, cast.demo), settings.data)
    assert weights.is_file()
    free_the_disk(engine, settings.data, Looks())
    assert not weights.exists()
