"""What the overview says of the disk: held by the project, free, and how long that lasts at the pace of all projects."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.disk import usage as room
from app.disk.sizes import Walk
from app.disk.usage import LITTLE, Usage, usage
from app.models import Project, utc_now
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.overview.test_service import seen

MIB = 2**20


def ran(engine: Engine, runs: Path, project_id: int, octets: int, days_ago: float | None) -> Path:
    """A run that ended so long ago, or is at work, and left one file below its folder."""
    when = utc_now() - timedelta(days=days_ago or 0)
    with write_session(engine) as session:
        state = "running" if days_ago is None else "done"
        run = factories.make_run(session, project_id, state=state, started_at=when, ended_at=when if days_ago else None)
        path = runs / str(run.id) / "checkpoint" / "weights.safetensors"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(octets)
    return path


def used(engine: Engine, project_id: int, data: Path) -> Usage:
    """After a walk of the worker's."""
    Walk().go_on(engine, data, 60)
    with read_session(engine) as session:
        return usage(session, session.get_one(Project, project_id), data)


def test_the_disk_lasts_as_all_projects_fill_it(engine: Engine, cast: Cast, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert used(engine, cast.demo, tmp_path).days_left is None
    ran(engine, runs, cast.demo, 40 * MIB, 10)
    ran(engine, runs, cast.other, 60 * MIB, 3)
    ran(engine, runs, cast.demo, 7 * MIB, None)
    ran(engine, runs, cast.demo, 500 * MIB, 60)  # long ago
    found = used(engine, cast.demo, tmp_path)
    assert found.octets == (40 + 7 + 500) * MIB
    assert found.a_day == pytest.approx(107 * MIB / 10, rel=1e-3)
    assert found.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def test_one_day_of_work_is_needed_to_foretell_anything(engine: Engine, cast: Cast, tmp_path: Path) -> None:
    ran(engine, tmp_path / "runs", cast.demo, MIB, 0.9)
    assert used(engine, cast.demo, tmp_path).a_day is None


@pytest.mark.parametrize(
    ("found", "days", "soon"),
    [
        (Usage(1, 100 * LITTLE, 10 * LITTLE), 10, True),
        (Usage(1, 200 * LITTLE, 10 * LITTLE), 20, False),
        (Usage(1, LITTLE - 1, None), None, True),
        (Usage(1, 100 * LITTLE, 1), None, False),
    ],
)
def test_it_is_said_in_time(found: Usage, days: float | None, soon: bool) -> None:
    assert (found.days_left, found.ends_soon) == (days, soon)


def test_the_overview_says_it(
    client: TestClient, engine: Engine, settings: Settings, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_room", lambda _runs: 12 * LITTLE)
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo)
    ran(engine, settings.runs, cast.demo, 2 * LITTLE, 2)
    Walk().go_on(engine, settings.data, 60)
    words = seen(client.get("/projects/demo").text)
    assert "This project's runs hold 2.0 GiB, the disk has 12.0 GiB left; room for 12 days more" in words
    assert "The disk has 12.0 GiB left As the last four weeks went that lasts 12 days." in words
