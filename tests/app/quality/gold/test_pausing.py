"""Pausing: careful people never, who guesses soon, and an admin lets them go on."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.chats.service import start
from app.database.engine import write_session
from app.models import AuditEntry, Gold, Label, Project
from app.quality.gold import pausing
from app.quality.gold.pausing import MISSED, should_pause
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.quality.checked import answer_gold

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]


def paused_within(asked: int, share: float, seeds: int) -> int:
    return sum(
        should_pause([draw.random() < share for _ in range(asked)]) for draw in (random.Random(seed) for seed in range(seeds))
    )


def test_of_a_hundred_careful_people_none_is_paused_in_a_hundred_known_answers() -> None:
    """Each misses a tenth: a hundred labels hold five known answers, and a hundred of those are two thousand labels."""
    assert paused_within(100, 0.1, 100) == 0


def test_who_misses_as_many_as_careful_people_may_is_hardly_ever_paused() -> None:
    assert paused_within(200, MISSED, 1000) <= 10  # 5 allowed on average


@pytest.mark.parametrize(("share", "asked"), [(1.0, 8), (0.67, 40), (0.5, 100)])
def test_who_guesses_or_says_the_opposite_is_found(share: float, asked: int) -> None:
    assert paused_within(asked, share, 100) >= 90


def test_nothing_is_said_of_few() -> None:
    assert not should_pause([])
    assert not should_pause([True] * 4)


def test_who_is_paused_is_asked_nothing_and_told_kindly_until_an_admin_lets_them_go_on(
    engine: Engine, cast: Cast, as_user: As, api: Api
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.chat_on = True
        talk = start(session, cast.demo, cast.mary, str(uuid4())).id
        for _ in range(9):
            answer_gold(session, project, cast.mary, right=False)
        factories.make_task(session, project)
        assert pausing.who_misses(session, project, [cast.mary, cast.alan]) == [cast.mary]
        pausing.pause(session, project, cast.mary)
    mary, grace = api("annotate", who="Mary"), as_user("Grace")
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 204
    assert mary.get("/api/v1/projects/demo/waiting").json()["reason"] == "paused"
    browser, begun = as_user("Mary"), {"client_id": str(uuid4())}
    assert "A break for you" in browser.get("/projects/demo/annotate").text
    assert mary.post("/api/v1/projects/demo/chats", json=begun).status_code == 403
    assert browser.post("/projects/demo/chats", data=begun).status_code == 403
    assert mary.post(f"/api/v1/chats/{talk}/turns", json=begun | {"text": "Hello?"}).status_code == 403
    said = browser.post(f"/chats/{talk}/turns", data=begun | {"text": "Hello?"})
    assert said.status_code == 403
    assert "an admin has been told" in said.text
    page = grace.get(f"/projects/demo/annotators/{cast.mary}").text
    assert "They are asked nothing at present" in page
    assert "paused" in grace.get("/projects/demo/agreement").text

    reply = grace.post(f"/projects/demo/annotators/{cast.mary}/resumption")
    assert reply.status_code == 303
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 200
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert pausing.who_misses(session, project, [cast.mary]) == [], "what was missed before counts no more"
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
        assert [one for one in actions if one.startswith("person.")] == ["person.paused", "person.resumed"]


def test_a_project_may_leave_it_and_right_answers_pause_nobody(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(12):
            answer_gold(session, project, cast.mary, right=False)
            answer_gold(session, project, cast.alan, right=True)
        assert pausing.who_misses(session, project, [cast.mary, cast.alan]) == [cast.mary]
        project.gold_pauses = False
        assert pausing.who_misses(session, project, [cast.mary]) == []


def test_a_rating_within_a_step_is_right() -> None:
    for overall, right in ((5, True), (3, True), (2, False)):
        assert pausing.is_right(Gold(overall=4), Label(overall=overall)) is right
