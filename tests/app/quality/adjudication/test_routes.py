"""The reviewer's pages: what people differ on, settled and sent back by forms; and "My work" of whom it is sent back to."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session
from app.models import Dispute, Label
from tests.app.conftest import Cast
from tests.app.quality.adjudication.differing import open_dispute

As = Callable[[str], TestClient]
ROOT = "/projects/demo/disputes"


def form(choice: str) -> dict[str, str]:
    return {"client_id": str(uuid.uuid4()), "choice": choice, "comment": "The date is right."}


def ties(engine: Engine, cast: Cast) -> tuple[int, int]:
    said: dict[int, dict[str, Any]] = {
        cast.mary: {"choice": "tie", "comment": "Both fine."},
        cast.grace: {"choice": "both_bad", "flags": {"left": ("untrue",)}},
    }
    return open_dispute(engine, cast.demo, said)


def test_one_after_the_other_is_settled(engine: Engine, cast: Cast, as_user: As) -> None:
    first, second = (ties(engine, cast)[0] for _ in range(2))
    alan = as_user("reviewer")
    page = alan.get(ROOT).text
    assert f'href="{ROOT}/{first}"' in page
    case = alan.get(f"{ROOT}/{first}").text
    assert "Both fine." in case
    assert "Mary" not in case
    assert "Grace" not in case
    settled = alan.post(f"{ROOT}/{first}/settlement", data=form("left"))
    assert (settled.status_code, settled.headers["location"]) == (303, f"{ROOT}/{second}")
    assert alan.post(f"{ROOT}/{second}/settlement", data=form("tie")).headers["location"] == ROOT
    assert "Nothing waits for you" in alan.get(ROOT).text
    assert f"{ROOT}/{first}" in alan.get(f"{ROOT}?state=settled").text
    assert "You answered this one before" in alan.get(f"{ROOT}/{first}").text


def test_without_a_choice_the_page_says_so_and_keeps_what_was_written(engine: Engine, cast: Cast, as_user: As) -> None:
    dispute_id, _ = ties(engine, cast)
    reply = as_user("reviewer").post(f"{ROOT}/{dispute_id}/settlement", data=form(""))
    assert reply.status_code == 422
    assert "Choose an answer first" in reply.text
    assert "The date is right." in reply.text


def test_a_verdict_goes_back_and_its_person_answers(engine: Engine, cast: Cast, as_user: As) -> None:
    dispute_id, task_id = ties(engine, cast)
    alan, mary = as_user("reviewer"), as_user("annotator")
    with read_session(engine) as session:
        label = session.scalars(select(Label.id).where(Label.annotator_id == cast.mary)).one()
    assert "Sent back to you" not in mary.get("/projects/demo/work").text
    empty = alan.post(f"{ROOT}/{dispute_id}/doubts", data={"label": label, "comment": " "})
    assert empty.status_code == 422
    sent = alan.post(f"{ROOT}/{dispute_id}/doubts", data={"label": label, "comment": "Did you see the date?"})
    assert (sent.status_code, sent.headers["location"]) == (303, ROOT)
    work = mary.get("/projects/demo/work").text
    assert "Did you see the date?" in work
    assert f"/projects/demo/annotate?task={task_id}" in work
    assert "Alan" not in work
    (action,) = re.findall(r'action="(/projects/demo/doubts/\d+/answer)"', work)
    assert as_user("Grace").post(action, data={"answer": "Mine."}).status_code == 404
    assert mary.post(action, data={"answer": "I did."}).status_code == 303
    assert "Sent back to you" not in mary.get("/projects/demo/work").text
    assert "I did." in alan.get(f"{ROOT}/{dispute_id}").text
    with read_session(engine) as session:
        assert session.scalars(select(Dispute.state)).one() == "open"


@pytest.mark.parametrize("who", ["annotator", "Eve"])
def test_nobody_else_gets_there(engine: Engine, cast: Cast, as_user: As, who: str) -> None:
    dispute_id, _ = ties(engine, cast)
    other = as_user(who)
    assert {other.get(ROOT).status_code, other.get(f"{ROOT}/{dispute_id}").status_code} <= {403, 404}
    assert other.post(f"{ROOT}/{dispute_id}/settlement", data=form("left")).status_code in (403, 404)


def test_who_judged_it_sees_that_somebody_else_settles_it(engine: Engine, cast: Cast, as_user: As) -> None:
    dispute_id, _ = ties(engine, cast)
    grace = as_user("admin")
    assert "yours among them" in grace.get(ROOT).text
    assert "somebody else settles it" in grace.get(f"{ROOT}/{dispute_id}").text
    assert grace.post(f"{ROOT}/{dispute_id}/settlement", data=form("left")).status_code == 409


def test_a_rating_is_settled_too(engine: Engine, cast: Cast, as_user: As) -> None:
    dispute_id, _ = open_dispute(engine, cast.demo, {cast.mary: {"overall": 1}, cast.grace: {"overall": 5}}, "rating")
    alan = as_user("reviewer")
    assert "5 of 5" in alan.get(f"{ROOT}/{dispute_id}").text
    reply = alan.post(f"{ROOT}/{dispute_id}/settlement", data={"client_id": str(uuid.uuid4()), "overall": "2"})
    assert reply.status_code == 303
