"""The budget of people's hours is counted beside the claims, and closes every door at which tasks are given out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.chats.service import start
from app.database.engine import read_session, write_session
from app.models import Label, Project, utc_now
from app.quality.hours.counting import Before, keep_counting
from app.quality.hours.service import hours
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from trainer.worker.chores import Looks, look_after_projects

Api = Callable[..., TestClient]
As = Callable[[str], TestClient]
MIDNIGHT = datetime(2026, 3, 20).astimezone()


def worked(engine: Engine, cast: Cast) -> float:
    with read_session(engine) as session:
        return session.get_one(Project, cast.demo).hours_worked or 0.0


def test_it_is_what_the_page_of_hours_adds_up_to_across_midnight(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.hours_budget = 100.0
        for minutes in (-60 * 24 * 25, -60 * 24 * 3, -4, -1, 2, 3):  # the first of them last month
            judge(session, project, cast.mary, at=MIDNIGHT + timedelta(minutes=minutes))
        judge(session, project, cast.alan, at=MIDNIGHT + timedelta(minutes=4))
    remembered: dict[int, Before] = {}
    keep_counting(engine, cast.demo, remembered, MIDNIGHT + timedelta(minutes=5))
    with read_session(engine) as session:
        found = hours(session, cast.demo, MIDNIGHT.date().replace(day=1), MIDNIGHT.date())
    seconds = sum(one.active.total_seconds() for one in found)
    assert seconds > 0
    assert round(worked(engine, cast) * 3600, 6) == seconds
    assert remembered[cast.demo].day == MIDNIGHT.date()

    with write_session(engine) as session:
        judge(session, session.get_one(Project, cast.demo), cast.mary, at=MIDNIGHT + timedelta(minutes=6))
    keep_counting(engine, cast.demo, remembered, MIDNIGHT + timedelta(minutes=5, seconds=20))
    assert round(worked(engine, cast) * 3600, 6) == seconds, "it was counted twenty seconds ago"
    keep_counting(engine, cast.demo, remembered, MIDNIGHT + timedelta(minutes=6))
    assert round(worked(engine, cast) * 3600, 6) == seconds + 180


def full(engine: Engine, cast: Cast) -> None:
    """A project with open tasks whose budget is a second, and nine are worked."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.hours_budget = 1 / 3600
        judge(session, project, cast.alan)
        for _ in range(3):
            factories.make_task(session, project)


def test_every_door_closes_and_what_is_in_hand_is_answered(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.chat_on = True
        factories.make_task(session, project)
        talk = start(session, cast.demo, cast.mary, str(uuid4())).id
    mary, alan = api("annotate", who="Mary"), as_user("Alan")
    held = mary.post("/api/v1/projects/demo/tasks/next").json()["id"]
    full(engine, cast)
    look_after_projects(engine, Looks())

    assert mary.post("/api/v1/projects/demo/tasks/next").json()["id"] == held, "a page that is loaded again shows what it showed"
    assert mary.post("/api/v1/projects/demo/tasks/next", json={"besides": [held]}).status_code == 204
    assert f"/tasks/{held}/label" in as_user("Mary").get("/projects/demo/annotate").text
    page = alan.get("/projects/demo/annotate")
    assert page.status_code == 200
    assert "The hours planned for this month are worked" in page.text
    assert api("annotate", who="Alan").get("/api/v1/projects/demo/waiting").json()["reason"] == "closed"
    ahead = alan.post("/projects/demo/annotate/next", data={"wanted": "yes"})
    assert "The hours planned for this month are worked" in ahead.text
    _talks_are_closed(mary, as_user("Mary"), talk)

    sent = mary.post(f"/api/v1/tasks/{held}/label", json={"client_id": str(uuid4()), "choice": "left"})
    assert sent.status_code == 201
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 204
    with read_session(engine) as session:
        assert session.scalar(select(Label.surplus).where(Label.task_id == held)) is False

    api("admin", who="Grace").patch("/api/v1/projects/demo", json={"hours_budget": 50})
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 200


def _talks_are_closed(mary: TestClient, browser: TestClient, talk: int) -> None:
    begun = {"client_id": str(uuid4())}
    assert mary.post("/api/v1/projects/demo/chats", json=begun).status_code == 403
    assert browser.post("/projects/demo/chats", data=begun).status_code == 403
    assert mary.post(f"/api/v1/chats/{talk}/turns", json=begun | {"text": "Hello?"}).status_code == 403
    said = browser.post(f"/chats/{talk}/turns", data=begun | {"text": "Hello?"})
    assert said.status_code == 403
    assert "it goes on next month" in said.text


def test_checks_and_evaluations_wait_for_nobody(engine: Engine, cast: Cast, api: Api) -> None:
    """What is kept for one person, or asked of an evaluation, stands in the queue like anything else."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for purpose in ("gold", "repeat", "evaluation"):
            factories.make_task(session, project, purpose=purpose)
        project.closed_until = utc_now() + timedelta(minutes=1)
    mary = api("annotate", who="Mary")
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 204
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).closed_until = utc_now()
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 200


def test_without_a_budget_nothing_is_counted(engine: Engine, cast: Cast) -> None:
    full(engine, cast)
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).hours_budget = None
    keep_counting(engine, cast.demo, {})
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert (project.hours_counted_at, project.closed_until) == (None, None)
