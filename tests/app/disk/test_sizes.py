"""The walk through the folders of runs is the worker's, and what pages and the API say by it is what a prune frees."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.disk import sizes, usage
from app.disk.pruning import forecast, free, plan
from app.disk.sizes import Size, Walk, last_walk
from app.models import Project, utc_now
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.disk.loop import make_round, octets
from tests.app.overview.test_service import seen

WEEK = timedelta(days=7)


@pytest.fixture
def filled(engine: Engine, settings: Settings, cast: Cast) -> Path:
    """Six rounds, one of them promoted; of one run there is an export, and another's weights have a second name."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        made = [make_round(session, project, settings.data, at, days_ago=50 - at, promoted=at == 2) for at in range(1, 7)]
        export = settings.data / "runs" / str(made[0].run_id) / "export"
        export.mkdir()
        (export / "model.safetensors").write_bytes(b"e" * 700)
        os.link(settings.data / made[2].source / "adapter_model.safetensors", settings.data / "mine.safetensors")
    return settings.data


def test_the_forecast_by_the_last_walk_is_what_is_freed(engine: Engine, filled: Path, cast: Cast) -> None:
    Walk().go_on(engine, filled, 60)
    before = octets(filled)
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        foretold = forecast(session, filled, project, utc_now() - WEEK)
        pieces = plan(session, filled, project, utc_now() - WEEK)
    assert free(engine, filled, cast.demo, pieces).octets == foretold == before - octets(filled) > 0
    Walk().go_on(engine, filled, 60)
    with read_session(engine) as session:
        assert forecast(session, filled, session.get_one(Project, cast.demo), utc_now() - WEEK) == 0


def test_a_walk_goes_a_little_at_a_time_and_rests_between_two(
    engine: Engine, filled: Path, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk()
    steps = 0
    while last_walk.of(filled) == (0, {}):
        walk.go_on(engine, filled, 0)
        steps += 1
    assert steps == 12, "a folder each"
    (filled / "runs" / "1" / "log.txt").write_bytes(b"l" * 1000)
    found = last_walk.of(filled)
    walk.go_on(engine, filled, 60)
    assert last_walk.of(filled) == found, "it was not long ago"
    monkeypatch.setattr(sizes, "PAUSE_S", 0.0)
    walk.go_on(engine, filled, 60)
    assert last_walk.of(filled)[1][1].octets == found[1][1].octets + 1000


def test_what_is_no_list_of_sizes_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for text in ("", "[]", '{"1": 2}', '{"1": [2]}'):
        (tmp_path / "cache" / sizes.NAME).write_text(text)
        assert last_walk.of(tmp_path) == (0, {})
    (tmp_path / "cache" / sizes.NAME).write_text('{"1": [9, 3, 2]}')
    assert last_walk.of(tmp_path)[1] == {1: Size(octets=9, weights=3, states=2)}


def test_no_page_and_no_call_walks_through_the_folders(
    engine: Engine,
    filled: Path,
    cast: Cast,
    client: TestClient,
    api: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Walk().go_on(engine, filled, 60)
    monkeypatch.setattr(usage, "_room", lambda _runs: 1000)
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo)

    def walks(*_given: object) -> None:
        raise AssertionError("a web request walks through the folders")

    monkeypatch.setattr(os, "walk", walks)
    ada = api("admin", who="Ada")
    said = ada.get("/api/v1/projects/demo/disk", params={"older_than": 30}).json()
    assert (said["octets"], said["older_than"]) == (octets(filled), 30)
    assert said["could_go_octets"] > 0
    assert ada.get("/api/v1/projects/demo/disk").json() | {"could_go_octets": 0, "older_than": None} == said | {
        "could_go_octets": 0,
        "older_than": None,
    }
    assert ada.get("/api/v1/projects/demo/disk").json()["could_go_octets"] == 0, "it keeps all"
    words = seen(client.get("/projects/demo").text)
    assert "Of runs that ended more than 30 days ago that would free" in words
