"""Narrowing a project's labels: by flag, comment, date, disagreement, withdrawal, prompt; and how many fit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from app.database import searching
from app.database.engine import read_session, write_session
from app.database.searching import Total
from app.labels import history_routes
from app.labels.search import LabelFilter, count_labels, search_labels
from app.models import Label, Project, Task, utc_now
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.labels.test_grown import plans, read_through

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]


@pytest.fixture
def labels(engine: Engine, cast: Cast) -> dict[str, int]:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        made = {
            "plain": judge(session, project, cast.mary, choice="left"),
            "flagged": judge(session, project, cast.mary, choice="tie", flags={"right": ["untrue"]}),
            "commented": judge(session, project, cast.alan, choice="right", comment="Too long."),
            "old": judge(session, project, cast.alan, choice="left"),
        }
        ids = {name: label.id for name, label in made.items()}
        session.execute(update(Label).where(Label.id == ids["old"]).values(created_at=utc_now() - timedelta(days=40)))
        return ids


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, {"plain", "flagged", "commented", "old"}),
        ({"flag": "untrue"}, {"flagged"}),
        ({"flag": "off_topic"}, set()),
        ({"commented": True}, {"commented"}),
        ({"since": utc_now() - timedelta(days=30)}, {"plain", "flagged", "commented"}),
        ({"until": utc_now() - timedelta(days=30)}, {"old"}),
        ({"disputed": True}, set()),
        ({"withdrawn": True}, set()),
    ],
)
def test_each_filter_lets_its_own_through(
    engine: Engine, cast: Cast, labels: dict[str, int], wanted: dict[str, Any], found: set[str]
) -> None:
    with read_session(engine) as session:
        rows = search_labels(session, cast.demo, LabelFilter(**wanted))
        assert {row.label.id for row in rows} == {labels[name] for name in found}
        assert count_labels(session, cast.demo, LabelFilter(**wanted)) == Total(len(found), False)


def test_labels_that_others_contradict_are_found_by_reviewers_and_not_by_annotators(
    as_user: AsUser, api: Api, engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        mine = judge(session, project, cast.mary, choice="left")
        theirs = judge(session, project, cast.alan, choice="right", task=session.get_one(Task, mine.task_id))
        alike = judge(session, project, cast.mary, choice="left")  # the same answer, which stood on the other side for Alan
        judge(session, project, cast.alan, choice="right", swapped=True, task=session.get_one(Task, alike.task_id))
        disputed = {mine.id, theirs.id}
    where = "/api/v1/projects/demo/labels"
    found = api("annotate", who="Grace").get(where, params={"disputed": True}).json()["items"]
    assert {label["id"] for label in found} == disputed
    hers = api("annotate", who="Mary").get(where, params={"disputed": True}).json()["items"]
    assert len(hers) == 2  # all of them: nothing is told
    assert "disputed" in as_user("Grace").get("/projects/demo/labels").text
    assert "disputed" not in as_user("Mary").get("/projects/demo/labels").text


def test_the_page_counts_what_fits_and_no_further_than_it_says(
    as_user: AsUser, labels: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = as_user("Grace")
    assert "4 labels" in grace.get("/projects/demo/labels").text
    assert "Found: 1 label." in grace.get("/projects/demo/labels?flag=untrue").text
    monkeypatch.setattr(searching, "COUNT_TO", 3)
    monkeypatch.setattr(history_routes, "PAGE_ROWS", 3)
    assert "More than 3 labels" in grace.get("/projects/demo/labels").text


@pytest.mark.parametrize("day", ["2026-02-30", "0001-01-01", "9999-12-31"])
def test_a_day_that_is_none_or_at_the_end_of_time_is_no_error(as_user: AsUser, labels: dict[str, int], day: str) -> None:
    assert as_user("Grace").get(f"/projects/demo/labels?from={day}&to={day}").status_code == 200


def test_the_list_reads_through_no_table(engine: Engine, cast: Cast, labels: dict[str, int]) -> None:
    with read_session(engine) as session, plans(session) as found:
        search_labels(session, cast.demo, LabelFilter())
        count_labels(session, cast.demo, LabelFilter())
        count_labels(session, cast.demo, LabelFilter(annotator_id=cast.mary, disputed=True))
    assert len(found) > 3
    assert read_through(found) == []
