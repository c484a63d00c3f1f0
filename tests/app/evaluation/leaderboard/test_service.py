"""The leaderboard of a project: who is in it, under which name, and how far each went; as a page, a picture and a call."""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.evaluation.leaderboard.service import Board, leaderboard
from app.models import Project
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.leaderboard import meetings

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1"


def board_of(engine: Engine, cast: Cast, *, without_length: bool = False) -> Board:
    with read_session(engine) as session:
        return leaderboard(session, session.get_one(Project, cast.demo), without_length=without_length)


@pytest.fixture
def met(engine: Engine, cast: Cast) -> dict[str, int]:
    """A policy that is better than the base, its best of four, one that grew out of it, and a model that hardly anybody saw."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        base = meetings.base_of(session, project)
        first = meetings.policy(session, project, 2.25, project.policy_id)
        second = meetings.policy(session, project, 1.0, first.id)
        better, four = meetings.alone(session, first), meetings.best_of(session, project, first, 4)
        later, stranger = meetings.alone(session, second), factories.make_stranger(session, project.id, "<b>gpt</b>")
        longer = ("x" * 200, "y" * 100)
        meetings.meet(session, project, cast.mary, better, base, {"left": 24, "tie": 4, "right": 12}, longer)
        meetings.meet(session, project, cast.mary, base, better, {"left": 4, "right": 1}, longer)
        meetings.meet(session, project, cast.mary, four, better, {"left": 25, "right": 15})
        meetings.meet(session, project, cast.mary, later, base, {"left": 10, "right": 25})
        meetings.meet(session, project, cast.mary, stranger, base, {"left": 3})
        return {"base": base.id, "better": better.id, "four": four.id, "later": later.id, "stranger": stranger.id}


def test_a_project_that_has_asked_nobody_has_its_base(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    (row,) = board_of(engine, cast).rows
    assert (row.base, row.contender, row.standing.rate, row.kl_nats) == (True, None, 0.5, 0.0)
    assert "Nobody has met yet" in as_user("Ada").get("/projects/demo/leaderboard").text
    assert as_user("Ada").get("/projects/demo/leaderboard/frontier.svg").status_code == 404
    (item,) = api("export").get(f"{V1}/projects/demo/leaderboard").json()["items"]
    assert (item["contender_id"], item["name"], item["base"], item["promoted"]) == (None, "Base model", True, False)


def test_places_names_and_what_is_too_few(engine: Engine, cast: Cast, met: dict[str, int]) -> None:
    board = board_of(engine, cast)
    assert [row.standing.contender for row in board.rows] == [met[one] for one in ("four", "better", "base", "later", "stranger")]
    assert [row.standing.enough for row in board.rows] == [True, True, True, True, False]
    assert (board.verdicts, board.uncounted) == (123, 0)
    assert [row.promoted for row in board.rows] == [False, False, True, False, False]


def test_how_far_each_went_is_told_where_it_was_measured_from_the_base(engine: Engine, cast: Cast, met: dict[str, int]) -> None:
    distance = {row.standing.contender: row.kl_nats for row in board_of(engine, cast).rows}
    assert distance[met["base"]] == 0.0
    assert distance[met["better"]] == 2.25
    assert distance[met["four"]] == pytest.approx(2.25 + math.log(4) - 3 / 4)
    assert distance[met["later"]] is None, "measured from the policy that its round began with"
    assert distance[met["stranger"]] is None
    assert [row.standing.contender for row in board_of(engine, cast).frontier] == [met["base"], met["better"], met["four"]]


def test_a_run_that_measured_from_the_base_is_on_the_frontier_whatever_it_began_with(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        first = meetings.policy(session, project, 2.0, project.policy_id)
        second = meetings.policy(session, project, 3.0, first.id, reference="base")
        base, later = meetings.base_of(session, project), meetings.alone(session, second)
        meetings.meet(session, project, cast.mary, later, base, {"left": 1})
    assert {row.kl_nats for row in board_of(engine, cast).rows} == {0.0, 3.0}


def test_without_length_it_is_another_ranking(engine: Engine, cast: Cast, met: dict[str, int]) -> None:
    rate = {row.standing.contender: row.standing.rate for row in board_of(engine, cast).rows}
    without = {row.standing.contender: row.standing.rate for row in board_of(engine, cast, without_length=True).rows}
    assert without[met["better"]] < 0.5 < rate[met["better"]]
    assert without[met["later"]] == pytest.approx(rate[met["later"]], abs=1e-6)


def test_the_page_shows_it_and_the_call_says_the_same(as_user: As, api: Api, met: dict[str, int]) -> None:
    ada = as_user("Ada")
    page = ada.get("/projects/demo/leaderboard").text
    assert "too few" in page
    assert "&lt;b&gt;gpt&lt;/b&gt;" in page
    assert "<b>gpt" not in page
    assert "frontier.svg" in page
    reply = api("export").get(f"{V1}/projects/demo/leaderboard").json()
    assert reply["items"][0]["contender_id"] == met["four"]
    assert reply["items"][0]["lower"] < reply["items"][0]["rate"] < reply["items"][0]["upper"]
    assert reply["items"][0]["kind"] == "best_of"
    without = api("export").get(f"{V1}/projects/demo/leaderboard?without_length=true").json()
    places = [item["contender_id"] for item in without["items"]]
    assert places.index(met["base"]) < places.index(met["better"])
    assert "selected>taken out" in ada.get("/projects/demo/leaderboard?length=without").text


def test_the_frontier_is_a_picture_of_those_whose_distance_is_known(as_user: As, met: dict[str, int]) -> None:
    ada = as_user("Ada")
    for address in ("frontier.svg", "frontier.svg?narrow=true", "frontier.svg?length=without"):
        reply = ada.get(f"/projects/demo/leaderboard/{address}")
        assert reply.headers["content-type"] == "image/svg+xml"
        tree = ElementTree.fromstring(reply.content)
        dots = [one for one in tree.iter() if one.tag.endswith("circle")]
        assert len(dots) == 3
        width = float(tree.get("width") or 0)
        assert all(0 < float(dot.get("cx") or 0) < width for dot in dots)


def test_who_annotates_sees_no_leaderboard(as_user: As, api: Api, met: dict[str, int]) -> None:
    assert as_user("Mary").get("/projects/demo/leaderboard").status_code in (403, 404)
    assert api("export", who="Mary").get(f"{V1}/projects/demo/leaderboard").status_code in (403, 404)
