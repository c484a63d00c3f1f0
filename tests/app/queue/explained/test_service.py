"""What comes next and what came last, by kind and reason; who may see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Label, Project, Seat
from app.queue.explained import service
from app.queue.explained.service import Part, explain
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge

Api = Callable[..., TestClient]
As = Callable[[str], TestClient]


def fill(engine: Engine, cast: Cast) -> None:
    """Mary judged one comparison; two comparisons, a rating and an evaluation's comparison wait, and another project's."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.mary)
        for kind in ("comparison", "comparison", "rating"):
            factories.make_task(session, project, kind)
        factories.make_task(session, project, served_reason="evaluation", purpose="evaluation")
        factories.make_task(session, factories.make_project(session, "elsewhere"))


def test_places_and_verdicts_are_told_apart_by_kind_and_by_reason(engine: Engine, cast: Cast) -> None:
    with read_session(engine) as session:
        before = explain(session, cast.demo)
    fill(engine, cast)
    with read_session(engine) as session:
        found = explain(session, cast.demo)
    assert (before.waiting, before.given, before.reasons) == (0, 0, ())
    assert (found.waiting, found.given) == (4, 1)
    assert found.kinds == (Part("comparison", 2, 1), Part("rating", 1, 0), Part("ranking", 0, 0))
    assert found.reasons == (Part("random", 3, 1), Part("evaluation", 1, 0))


def test_what_somebody_holds_and_what_was_withdrawn_is_neither(engine: Engine, cast: Cast) -> None:
    fill(engine, cast)
    with write_session(engine) as session:
        seat = session.scalars(select(Seat).where(Seat.state == "free")).first()
        assert seat is not None
        seat.state, seat.annotator_id = "leased", cast.alan
        label = session.scalars(select(Label)).one()
        label.current = False
    with read_session(engine) as session:
        found = explain(session, cast.demo)
    assert (found.waiting, found.given) == (3, 0)


def test_only_so_many_are_looked_at(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(engine, cast)
    monkeypatch.setattr(service, "LOOKED_AT", 2)
    with read_session(engine) as session:
        found = explain(session, cast.demo)
    assert (found.waiting, found.reasons) == (2, (Part("random", 2, 1),))  # in the order of the queue


def test_the_page_and_the_call_say_the_same_to_admins_alone(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    assert "Nothing is asked yet" in as_user("Grace").get("/projects/demo/queue").text
    fill(engine, cast)
    page = as_user("Grace").get("/projects/demo/queue").text
    assert "Blind evaluation" in page
    assert 'data-label="Come next">3<' in page
    reply = api("admin", who="Grace").get("/api/v1/projects/demo/queue").json()
    assert reply == {
        "waiting": 4,
        "given": 1,
        "kinds": [
            {"name": "comparison", "waiting": 2, "given": 1},
            {"name": "rating", "waiting": 1, "given": 0},
            {"name": "ranking", "waiting": 0, "given": 0},
        ],
        "reasons": [{"name": "random", "waiting": 3, "given": 1}, {"name": "evaluation", "waiting": 1, "given": 0}],
    }
    assert as_user("Mary").get("/projects/demo/queue").status_code == 403
