"""What is marked in a turn of a talk is in its label, at every door a label goes through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Label, Project, Task
from app.rounds import service
from app.settings import Settings
from tests.app.chats.talk import Talk, new_id
from tests.app.conftest import Cast
from trainer.contract.folder import read_jsonl
from trainer.worker import freeze

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]

REASONS = [
    {
        "key": "wrong",
        "name": "untrue",
        "description": "",
        "tone": "bad",
        "version": 2,
        "earlier": ["wrong"],
        "since": "2026-01-01T00:00:00+00:00",
    }
]
MARK = {"start": 2, "end": 7, "reason": "wrong", "quote": "Magic"}
SPANS = {"reasons": {"wrong": 2}, "right": [MARK]}


@pytest.fixture
def talk(engine: Engine, cast: Cast, talking: None) -> Talk:
    """Two answers that wait for Mary's choice."""
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).span_reasons = REASONS
    made = Talk(engine, cast)
    made.keep(made.say("Why is the sky blue?"), "Air.", "🙂 Magic.")
    return made


def stored(engine: Engine) -> list[Label]:
    with read_session(engine) as session:
        return list(session.scalars(select(Label).order_by(Label.id)))


def chosen(talk: Talk, api: Api, **more: Any) -> Any:
    body = {"client_id": new_id(), "turn": 1, "choice": "left", "spans": SPANS} | more
    return api("annotate", who="Mary").post(f"/api/v1/chats/{talk.id}/choice", json=body)


def test_the_api_takes_them_with_the_choice_and_checks_them_as_everywhere(talk: Talk, engine: Engine, api: Api) -> None:
    other = {"reasons": {"wrong": 2}, "right": [MARK | {"quote": "Logic"}]}
    assert chosen(talk, api, spans=other).status_code == 422
    assert chosen(talk, api, spans={"right": [MARK | {"reason": "rude"}]}).status_code == 422
    assert stored(engine) == []
    assert chosen(talk, api, choice="both_bad", words="Air scatters it.").status_code == 201
    (label,) = stored(engine)
    assert (label.spans, label.rewrite) == (SPANS, {"side": "left", "text": "Air scatters it."})


def test_a_form_without_scripts_brings_them_too_and_loses_none_where_it_is_refused(
    talk: Talk, engine: Engine, as_user: As
) -> None:
    mary = as_user("Mary")
    page = mary.get(f"/chats/{talk.id}").text
    assert 'name="spans.reasons.wrong" value="2"' in page
    field = re.search(r'name="client_id" value="([^"]*)"', page)
    assert field is not None
    form = {"client_id": field[1], "turn": "1", "spans.reasons.wrong": "2", "spans.right": json.dumps([MARK])}
    refused = mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "both_bad", "words": ""})
    assert refused.status_code == 422
    box = re.search(r'<textarea hidden name="spans.right" form="choice"[^>]*>\n(.*)</textarea>', refused.text)
    assert box is not None
    assert "Magic" in box[1]
    broken = mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "left", "spans.right": "[{"})
    assert broken.status_code == 422
    assert stored(engine) == []
    assert mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "left"}).status_code == 303
    assert [label.spans for label in stored(engine)] == [SPANS]


def test_its_history_its_correction_and_the_list_of_labels_have_them(talk: Talk, engine: Engine, as_user: As, api: Api) -> None:
    chosen(talk, api)
    (label,) = stored(engine)
    told = api("annotate", who="Grace").get("/api/v1/projects/demo/labels").json()["items"]
    assert [one["spans"] for one in told] == [SPANS]
    history = as_user("Grace").get(f"/labels/{label.id}").text
    assert "untrue" in history
    assert "Magic" in history

    mary = as_user("Mary")
    again = mary.get(f"/projects/demo/annotate?task={label.task_id}").text
    assert "Magic" in again.partition('name="spans.right"')[2].partition("</textarea>")[0]
    corrected = {"client_id": new_id(), "choice": "tie", "spans.reasons.wrong": "2", "spans.right": json.dumps([MARK])}
    assert mary.post(f"/tasks/{label.task_id}/label", data=corrected).status_code == 303
    first, second = stored(engine)
    assert (first.spans, second.spans, second.version, second.choice) == (SPANS, SPANS, 2, "tie")


def test_exports_and_the_reward_read_them(talk: Talk, engine: Engine, cast: Cast, api: Api, settings: Settings) -> None:
    chosen(talk, api)
    rows = api("export", who="Grace").get("/api/v1/projects/demo/export?format=labels").text.splitlines()
    marked = [{"side": "right", **MARK, "words": "untrue"}]
    assert [json.loads(json.loads(row)["spans"]) for row in rows] == [marked]
    with write_session(engine) as session:
        session.get_one(Label, 1).trains = True  # whichever split the hash of these words is of
        project = session.get_one(Project, cast.demo)
        assert session.scalar(select(func.count()).select_from(Task).where(Task.served_reason == "chat")) == 1
        run_id = service.queue_run(session, project, "reward", {}, {}, cast.grace).id
    prepared = freeze.prepare(engine, settings, run_id)
    freeze.publish(prepared)
    (verdict,) = read_jsonl(prepared.folder / "preferences.jsonl")
    assert verdict["spans"] == {"reasons": {"wrong": "bad"}, "right": [MARK]}
