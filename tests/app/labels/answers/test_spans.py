"""Marks: passages of an answer with a reason, by places that count code points, stored with the words that were marked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.errors import Invalid
from app.labels.answers.spans import MOST_SPANS, marking_for, told, turned
from app.models import Generation, Project, Task
from app.projects.service import update_project
from tests.app.conftest import Cast
from tests.app.labels.test_record import labels, record, say
from tests.app.queue.test_claim import claim, claimed, make_tasks

Api = Callable[..., TestClient]
TEXT = "So 🙂 it is. So it is not."
WRONG = {"key": "wrong", "name": "wrong", "description": "", "tone": "bad"}
GOOD = {"key": "good", "name": "well put", "description": "", "tone": "good"}


def reason(**other: Any) -> dict[str, Any]:
    return WRONG | {"version": 2, "earlier": ["false"], "since": "2026-01-01T00:00:00+00:00"} | other


def span(start: int, end: int, why: str = "wrong", **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "reason": why, **more}


def offer(engine: Engine, cast: Cast, *reasons: Any) -> None:
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, cast.demo), {"span_reasons": list(reasons)}, cast.grace)


def of_text(engine: Engine, cast: Cast, kind: str = "comparison", texts: Sequence[str] = (TEXT, TEXT)) -> int:
    (task_id,) = make_tasks(engine, cast.demo, 1, kind=kind)
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        for text, generation in zip(texts, (task.first_generation_id, task.second_generation_id), strict=True):
            if generation:
                session.get_one(Generation, generation).text = text
    return task_id


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"left": [span(3, 4, quote="🙂"), span(5, 7), span(0, 9, "good")]}, None),
        ({"left": [span(0, 3), span(3, 4)], "right": [span(0, 25)]}, None),
        ({"left": [span(3, 5, quote="🙂")]}, "does not read as quoted"),
        ({"left": [span(20, 26)]}, "has the places 0 to 25"),
        ({"left": [span(4, 4)]}, "ends behind its start"),
        ({"left": [span(2, 3)]}, "nothing but space"),
        ({"left": [span(0, 5), span(4, 9)]}, "overlap"),
        ({"left": [span(0, 2, "rude")]}, "no reason called rude"),
        ({"reasons": {"rude": 1}}, "no reason called rude"),
        ({"reasons": {"wrong": 3}}, "never had such a version"),
        ({"response": [span(0, 2)]}, "belong to left"),
        ({"left": [span(0, 2)] * (MOST_SPANS + 1)}, "too many"),
    ],
)
def test_what_a_verdict_may_mark(said: dict[str, Any], fault: str | None) -> None:
    marking = marking_for([reason(), reason(key="good")], [], {"left": TEXT, "right": TEXT})
    found = marking.fault(said, ("left", "right"))
    assert found is None if fault is None else fault in (found or "")


def test_who_names_no_reasons_was_offered_those_of_today() -> None:
    marking = marking_for([reason()], [reason(key="old", version=1, earlier=[])], {"left": TEXT})
    assert marking.stored({"left": [], "right": []}) == {"reasons": {"wrong": 2}}
    assert marking.stored({"left": [span(0, 2, "old")]}) == {
        "reasons": {"old": 1, "wrong": 2},
        "left": [span(0, 2, "old", quote="So")],
    }
    assert marking.stored({"reasons": {"wrong": 1}}) == {"reasons": {"wrong": 1}}
    assert marking.stored(None) is None
    assert marking_for([], [], {}).stored({"left": []}) is None


def test_a_mark_is_told_in_the_name_that_was_shown_and_on_the_readers_side() -> None:
    said = turned({"reasons": {"wrong": 1}, "left": [span(0, 2, quote="So")]}, {"left": "right", "right": "left"})
    assert [(one.side, one.words, one.tone, one.span["quote"]) for one in told(said, [reason()])] == [
        ("right", "false", "bad", "So")
    ]
    assert told(None, [reason()]) == []


def test_marks_keep_their_places_words_and_reasons_and_a_correction_replaces_them(engine: Engine, cast: Cast) -> None:
    offer(engine, cast, WRONG, GOOD)
    task_id = of_text(engine, cast)
    served = claim(engine, cast.demo, cast.mary)
    assert served is not None
    assert [(one["key"], one["tone"], one["version"]) for one in served.span_reasons] == [
        ("wrong", "bad", 1),
        ("good", "good", 1),
    ]
    offer(engine, cast, WRONG | {"name": "untrue"})

    record(engine, task_id, cast.mary, say("left", spans={"reasons": {"wrong": 1, "good": 1}, "right": [span(3, 4, "good")]}))
    record(engine, task_id, cast.mary, say("left", spans={"left": [span(5, 10), span(0, 2)]}), minutes=2)

    first, second = labels(engine)
    assert first.spans == {"reasons": {"good": 1, "wrong": 1}, "right": [span(3, 4, "good", quote="🙂")]}
    assert second.spans == {"reasons": {"wrong": 2}, "left": [span(0, 2, quote="So"), span(5, 10, quote="it is")]}


def test_a_mark_is_held_against_the_text_that_stood_on_that_side(engine: Engine, cast: Cast) -> None:
    offer(engine, cast, WRONG)
    task_id = of_text(engine, cast, texts=("Short.", "A good deal longer than that."))
    served = claim(engine, cast.demo, cast.mary)
    assert served is not None
    short, long = ("left", "right") if served.left == "Short." else ("right", "left")
    with pytest.raises(Invalid) as refused:
        record(engine, task_id, cast.mary, say("left", spans={short: [span(7, 11)]}))
    assert refused.value.fields.keys() == {"spans"}
    assert labels(engine) == []
    record(engine, task_id, cast.mary, say("left", spans={long: [span(7, 11)]}))
    assert labels(engine)[0].spans == {"reasons": {"wrong": 1}, long: [span(7, 11, quote="deal")]}


def test_a_ranking_marks_nothing(engine: Engine, cast: Cast) -> None:
    offer(engine, cast, WRONG)
    make_tasks(engine, cast.demo, 1, kind="ranking")
    served = claim(engine, cast.demo, cast.mary)
    assert served is not None
    assert list(served.span_reasons) == []


def test_a_rating_is_marked_and_read_over_the_api(engine: Engine, cast: Cast, api: Api) -> None:
    offer(engine, cast, WRONG)
    task_id = of_text(engine, cast, "rating")
    mary = api("annotate", who="Mary")
    assert mary.post("/api/v1/projects/demo/tasks/next").json()["span_reasons"] == [WRONG | {"version": 1}]
    body = {"client_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "overall": 2}

    bytewise = {"response": [span(3, 5, quote="🙂")]}
    refused = mary.post(f"/api/v1/tasks/{task_id}/label", json=body | {"spans": bytewise})
    assert refused.status_code == 422
    assert "Unicode code points" in refused.text
    spans = {"response": [span(3, 4, quote="🙂")]}
    assert mary.post(f"/api/v1/tasks/{task_id}/label", json=body | {"spans": spans}).status_code == 201
    assert mary.post(f"/api/v1/tasks/{task_id}/label", json=body | {"spans": spans}).status_code == 200
    assert mary.post(f"/api/v1/tasks/{task_id}/label", json=body).status_code == 409

    (label,) = mary.get("/api/v1/projects/demo/labels").json()["items"]
    assert label["spans"] == {"reasons": {"wrong": 1}, "response": [span(3, 4, quote="🙂")]}


@pytest.mark.parametrize("empty", [{}, {"reasons": {"wrong": 1}}, {"response": []}])
def test_a_verdict_that_marks_nothing_is_kept_as_one_that_could_have(
    engine: Engine, cast: Cast, api: Api, empty: dict[str, Any]
) -> None:
    offer(engine, cast, WRONG)
    task_id = of_text(engine, cast, "rating")
    mary = api("annotate", who="Mary")
    assert mary.post("/api/v1/projects/demo/tasks/next").status_code == 200
    body = {"client_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "overall": 2, "spans": empty}
    assert mary.post(f"/api/v1/tasks/{task_id}/label", json=body).status_code == 201
    (label,) = labels(engine)
    assert label.spans == {"reasons": {"wrong": 1}}


def test_the_page_keeps_a_verdict_that_marks_nothing(engine: Engine, cast: Cast, as_user: Callable[[str], TestClient]) -> None:
    offer(engine, cast, WRONG)
    task_id = of_text(engine, cast)
    mary = as_user("Mary")
    client_id = mary.get("/projects/demo/annotate").text.split('name="client_id" value="')[1][:36]
    form = {"client_id": client_id, "choice": "left", "spans.reasons.wrong": "1", "spans.left": "", "spans.right": "[]"}
    assert mary.post(f"/tasks/{task_id}/label", data=form).status_code == 303
    (label,) = labels(engine)
    assert label.spans == {"reasons": {"wrong": 1}}


def test_nothing_marked_where_nothing_may_be_is_no_mark(engine: Engine, cast: Cast) -> None:
    task_id = of_text(engine, cast)
    claim(engine, cast.demo, cast.mary)
    record(engine, task_id, cast.mary, say("left", spans={"left": [], "right": []}))
    assert labels(engine)[0].spans is None


def test_the_page_offers_stores_and_shows_marks(engine: Engine, cast: Cast, as_user: Callable[[str], TestClient]) -> None:
    offer(engine, cast, WRONG)
    task_id = of_text(engine, cast)
    mary = as_user("Mary")
    page = mary.get("/projects/demo/annotate").text
    assert 'name="spans.reasons.wrong" value="1"' in page
    assert json.dumps(TEXT) in page.replace("\\ud83d\\ude42", "\\ud83d\\ude42")
    client_id = page.split('name="client_id" value="')[1][:36]
    form = {"client_id": client_id, "choice": "left", "spans.reasons.wrong": "1"}
    broken = mary.post(f"/tasks/{task_id}/label", data=form | {"spans.left": "[{"})
    assert broken.status_code == 422
    assert "What is marked cannot be read" in broken.text
    marked = json.dumps([span(3, 4, quote="🙂")])
    assert mary.post(f"/tasks/{task_id}/label", data=form | {"spans.left": marked}).status_code == 303

    (label,) = labels(engine)
    assert label.spans == {"reasons": {"wrong": 1}, "left": [span(3, 4, quote="🙂")]}
    offer(engine, cast, WRONG | {"name": "untrue"})
    shown = mary.get(f"/labels/{label.id}").text
    assert '<span dir="auto">wrong</span> <q dir="auto">🙂</q>' in shown
    again = mary.get(f"/projects/demo/annotate?task={task_id}").text
    assert "&#34;start&#34;: 3" in again


def test_what_nobody_was_asked_to_mark_says_so(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    record(engine, task_id, cast.mary, say("left"))
    assert [label.spans for label in labels(engine)] == [None]
