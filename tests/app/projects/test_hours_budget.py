"""The budget of people's hours: which month counts, when a project is closed, and that it opens again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, utc_now
from app.projects.hours_budget import closed_until, month_of, settle, used
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
As = Callable[[str], TestClient]
NOON = datetime(2026, 12, 15, 12, tzinfo=UTC)


@pytest.fixture
def in_taipei(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Taipei")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_taipei")
def test_a_month_is_one_where_the_server_stands() -> None:
    begin, again = month_of(datetime(2026, 11, 30, 16, tzinfo=UTC))
    assert (begin.isoformat(), again.isoformat()) == ("2026-12-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00")
    project = Project(hours_budget=1.0, hours_worked=1.0, hours_counted_at=begin)
    found = used(project, begin)
    assert found is not None
    assert found.day.isoformat() == "2027-01-01"


def test_it_closes_once_they_are_worked_and_opens_by_itself() -> None:
    project = Project(hours_budget=10.0, hours_worked=9.9, hours_counted_at=NOON)
    settle(project, NOON)
    assert closed_until(project, NOON) is None
    project.hours_worked = 10.0
    settle(project, NOON)
    again = closed_until(project, NOON)
    assert again == month_of(NOON)[1]
    assert closed_until(project, again) is None, "nobody has to do anything"
    found = used(project, again)
    assert found is not None
    assert (found.hours, found.is_used) == (0.0, False), "what was worked is last month's"


def test_a_budget_that_is_raised_or_taken_away_opens_at_once(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.hours_worked, project.hours_counted_at = 12.5, utc_now()
    program: TestClient = api("admin", who="Grace")

    def change(hours: float | None) -> tuple[float | None, bool]:
        reply = program.patch("/api/v1/projects/demo", json={"hours_budget": hours})
        assert reply.status_code == 200, reply.text
        return reply.json()["hours_budget"], reply.json()["closed_until"] is not None

    assert change(12.5) == (12.5, True)
    assert program.get("/api/v1/projects/demo/hours").json()["budget"]["is_used"]
    page = as_user("Grace").get("/projects/demo").text
    assert "12.5 of 12.5 h of people" in page
    assert 'value="12.5"' in as_user("Grace").get("/projects/demo/settings").text
    assert change(13) == (13, False)
    assert "This month: 12.5 of 13 h of people" in as_user("Grace").get("/projects/demo/hours").text
    assert change(1) == (1, True)
    assert change(0) == (None, False)
    assert program.get("/api/v1/projects/demo/hours").json()["budget"] is None
    assert program.patch("/api/v1/projects/demo", json={"hours_budget": -1}).status_code == 422


def test_a_moment_that_has_passed_closes_nothing() -> None:
    project = Project(closed_until=NOON)
    assert closed_until(project, NOON - timedelta(seconds=1)) == NOON
    assert closed_until(project, NOON) is None
