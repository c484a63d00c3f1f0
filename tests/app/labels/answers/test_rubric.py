"""The rubric: what is asked of each answer, stored with the words that were answered, required from the next task on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.errors import Invalid
from app.labels.answers.rubric import Said, rubric_for, told, without_gaps
from app.models import Project
from app.projects.service import update_project
from tests.app.conftest import Cast
from tests.app.labels.test_record import labels, record, say
from tests.app.queue.test_claim import claim, claimed, make_tasks

SOURCED = {"key": "sourced", "name": "Does it name a source?", "description": "", "required": False}
CLEAR = SOURCED | {"key": "clear", "name": "Is it clear?"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ask(engine: Engine, cast: Cast, *items: Any) -> None:
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, cast.demo), {"rubric": list(items)}, cast.grace)


def item(**other: Any) -> dict[str, Any]:
    return SOURCED | {"version": 2, "earlier": ["Sourced?"], "since": NOON.isoformat(), "required": True} | other


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"sourced": {"left": "yes", "right": "cannot_say"}}, None),
        ({"sourced": {"version": 1, "left": "yes", "right": "no"}}, None),
        ({"sourced": {"left": "yes"}}, "Does it name a source?"),
        ({}, "Does it name a source?"),
        ({"sourced": {"version": 3, "left": "yes", "right": "no"}}, "never had such a version"),
        ({"sourced": {"response": "yes"}}, "belong to left"),
        ({"polite": {"left": "yes"}}, "no question called polite"),
    ],
)
def test_what_a_verdict_may_say_of_it(said: dict[str, Any], fault: str | None) -> None:
    found = rubric_for([item()], [], NOON + timedelta(minutes=1)).fault(said, ("left", "right"))
    assert found is None if fault is None else fault in (found or "")


@pytest.mark.parametrize("shown_at", [None, NOON - timedelta(minutes=1)])
def test_nothing_is_required_of_who_was_not_asked(shown_at: datetime | None) -> None:
    assert rubric_for([item()], [], shown_at).fault({}, ("left", "right")) is None


def test_an_answer_is_told_in_the_words_that_it_answered() -> None:
    said: Said = {"sourced": {"version": 1, "left": "yes"}}
    assert told(said, [item()]) == [("Sourced?", {"left": "yes"})]
    assert told(None, [item()]) == []


def test_a_question_that_nothing_is_said_about_is_left_out() -> None:
    assert without_gaps({"a": {"version": 1, "left": None}, "b": {"version": 2, "left": "no"}}) == {
        "b": {"version": 2, "left": "no"}
    }


def test_answers_keep_their_words_when_the_question_is_reworded_or_removed(engine: Engine, cast: Cast) -> None:
    ask(engine, cast, SOURCED, CLEAR)
    (task_id,) = make_tasks(engine, cast.demo, 1)
    served = claim(engine, cast.demo, cast.mary)
    assert served is not None
    assert [one["key"] for one in served.rubric] == ["sourced", "clear"]
    ask(engine, cast, SOURCED | {"name": "Does it name a source that exists?"})

    said = {"sourced": {"version": 1, "left": "yes", "right": "no"}, "clear": {"left": "cannot_say"}}
    record(engine, task_id, cast.mary, say("left", rubric=said))
    record(engine, task_id, cast.mary, say("left", rubric={"sourced": {"left": "no"}}), minutes=2)

    first, second = labels(engine)
    assert first.rubric == said | {"clear": {"version": 1, "left": "cannot_say"}}
    assert second.rubric == {"sourced": {"version": 2, "left": "no"}}
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        items = [*project.rubric, *project.retired["rubric"]]
    assert [words for words, _ in told(first.rubric, items)] == ["Does it name a source?", "Is it clear?"]
    assert [words for words, _ in told(second.rubric, items)] == ["Does it name a source that exists?"]


def test_a_verdict_from_before_a_question_was_required_is_kept(engine: Engine, cast: Cast) -> None:
    ask(engine, cast, SOURCED)
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    ask(engine, cast, SOURCED | {"required": True})
    record(engine, task_id, cast.mary, say("left"))
    assert [label.rubric for label in labels(engine)] == [None]


def test_a_required_question_has_to_be_answered_about_both(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).rubric = [item()]
    claimed(engine, cast.demo, cast.mary)
    with pytest.raises(Invalid) as refused:
        record(engine, task_id, cast.mary, say("left", rubric={"sourced": {"left": "yes"}}))
    assert refused.value.fields.keys() == {"rubric"}
    record(engine, task_id, cast.mary, say("left", rubric={"sourced": {"left": "yes", "right": "cannot_say"}}))
    assert len(labels(engine)) == 1


def test_the_page_asks_stores_and_shows_it(engine: Engine, cast: Cast, as_user: Callable[[str], TestClient]) -> None:
    ask(engine, cast, SOURCED)
    (task_id,) = make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")
    page = mary.get("/projects/demo/annotate").text
    assert "Does it name a source?" in page
    client_id = page.split('name="client_id" value="')[1][:36]
    form = {"client_id": client_id, "choice": "left", "rubric.sourced.left": "yes", "rubric.sourced.version": "1"}
    assert mary.post(f"/tasks/{task_id}/label", data=form).status_code == 303

    (label,) = labels(engine)
    assert label.rubric == {"sourced": {"version": 1, "left": "yes"}}
    ask(engine, cast, SOURCED | {"name": "Is there a source?"})
    shown = mary.get(f"/labels/{label.id}").text
    assert "Does it name a source?" in shown
    assert "Is there a source?" not in shown
    again = mary.get(f"/projects/demo/annotate?task={task_id}").text
    assert 'name="rubric.sourced.left" value="yes" checked' in again
    assert "Is there a source?" not in again, "what was answered stands in its own words"
