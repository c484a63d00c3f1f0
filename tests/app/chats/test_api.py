"""Talks over the API, with a real warm process on a small model; and what is said where there is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import Engine, func, select, update
from starlette.testclient import TestClient

from app.chats.answering import Turn
from app.chats.api import _events
from app.database.engine import make_engine, read_session, write_session
from app.models import ChatTurn, Generation, Label, Project
from app.serving import warm_process
from app.settings import Settings
from tests.app.chats.talk import Talk, new_id
from tests.app.conftest import Cast
from trainer.worker.warm import Warm

Api = Callable[..., TestClient]
DEMO = "/api/v1/projects/demo"
patient = pytest.mark.timeout(300)


def events(reply: Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [json.loads(block.removeprefix("data: ")) for block in reply.text.split("\n\n") if block]


@patient
def test_a_talk_is_led_over_the_api(
    api: Api, engine: Engine, cast: Cast, talking: None, live: dict[str, int], warm: Warm
) -> None:
    with write_session(engine) as session:
        short = {"temperature": 1.5, "max_new_tokens": 12}
        session.execute(update(Project).where(Project.id == cast.demo).values(sampling=short))
    mary, begun = api("annotate", who="Mary"), {"client_id": new_id()}
    first, again = (mary.post(f"{DEMO}/chats", json=begun) for _ in range(2))
    assert (first.status_code, first.json()) == (201, again.json())
    chat = f"/api/v1/chats/{first.json()['id']}"
    assert mary.get(f"{DEMO}/chats").json()["items"] == [], "nothing was said yet"

    said = {"client_id": new_id(), "text": "Hello?"}
    head, *grown, done = events(mary.post(f"{chat}/turns", json=said))
    assert head == {"turn": 1}
    assert done["done"] is True
    for side in ("left", "right"):
        assert "".join(event[side] for event in grown) == done[side]["text"]
        assert done[side].keys() == {"text", "cut"}
    assert len(grown) > 3, "it comes as it is written"
    assert events(mary.post(f"{chat}/turns", json=said)) == [head, done], "what is there is not written again"
    assert mary.post(f"{chat}/turns", json=said | {"client_id": new_id()}).status_code == 409

    choice = {"client_id": new_id(), "turn": 1, "choice": "right", "strength": 2}
    stored, known = (mary.post(f"{chat}/choice", json=choice) for _ in range(2))
    assert (stored.status_code, known.status_code) == (201, 200)
    assert stored.json() == known.json()
    assert stored.json()["reply"] == done["right"]["text"]

    events(mary.post(f"{chat}/turns", json={"client_id": new_id(), "text": "And?"}))
    refused = mary.post(f"{chat}/choice", json={"client_id": new_id(), "turn": 2, "choice": "both_bad"})
    assert (refused.status_code, [one["field"] for one in refused.json()["errors"]]) == (422, ["words"])
    own = {"client_id": new_id(), "turn": 2, "choice": "both_bad", "words": "And so on."}
    assert mary.post(f"{chat}/choice", json=own).json()["reply"] == "And so on."

    shown = mary.get(chat).json()
    assert [(turn["said"], turn["state"], turn["choice"]) for turn in shown["turns"]] == [
        ("Hello?", "done", "right"),
        ("And?", "done", "both_bad"),
    ]
    assert not {"contender", "checkpoint", "seed", "generation"} & set(json.dumps(shown).split('"'))
    assert mary.get(f"{DEMO}/chats").json()["items"][0]["said"] == "Hello?"
    with read_session(engine) as session:
        labels = session.scalars(select(Label).order_by(Label.id)).all()
        answers = session.scalars(select(Generation).order_by(Generation.id)).all()
        assert [label.choice for label in labels] == ["right", "both_bad"]
        assert len(answers) == 4
        assert all(answer.token_ids and answer.checkpoint_id == live["policy"] for answer in answers)
        assert {answer.settings["temperature"] for answer in answers} == {1.5}


@patient
def test_what_was_cut_off_is_gone_on_with(
    api: Api, engine: Engine, cast: Cast, talking: None, live: dict[str, int], warm: Warm
) -> None:
    talk, said = Talk(engine, cast), new_id()
    before = talk.say("Hello?", said)  # and then the network went
    again = {"client_id": said, "text": "Hello?"}
    _, *_, done = events(api("annotate", who="Mary").post(f"/api/v1/chats/{talk.id}/turns", json=again))
    assert done["done"] is True
    with read_session(engine) as session:
        seeds = session.scalars(select(Generation.seed).order_by(Generation.id)).all()
        assert seeds == [before.left.seeds[0], before.right.seeds[0]]


def test_where_the_models_are_away_it_is_said_and_the_turn_waits(
    api: Api, engine: Engine, cast: Cast, talking: None, live: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_process, "START_S", 0.3)
    talk = Talk(engine, cast)
    mary, said = api("annotate", who="Mary"), {"client_id": new_id(), "text": "Hello?"}
    refused = mary.post(f"/api/v1/chats/{talk.id}/turns", json=said)
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert int(refused.headers["retry-after"]) >= 1
    shown = mary.get(f"/api/v1/chats/{talk.id}").json()["turns"]
    assert [(turn["said"], turn["state"], turn["left"]) for turn in shown] == [("Hello?", "asked", None)]


def test_a_database_that_fails_while_a_reply_is_on_its_way_is_told_in_it(
    engine: Engine, cast: Cast, talking: None, tmp_path: Path
) -> None:
    talk, said = Talk(engine, cast), new_id()
    asked = talk.say("Hello?", said)
    talk.keep(asked)
    answered = replace(asked, answered=True)
    gone = make_engine(f"sqlite:///{tmp_path / 'gone' / 'tastemaker.db'}")

    async def all_events() -> list[str]:
        turn = Turn(gone, None, answered)  # type: ignore[arg-type]  # nobody is asked again
        return [event async for event in _events(gone, turn, cast.mary, Settings(data=tmp_path / "gone"))]

    told = [json.loads(event.removeprefix("data: ")) for event in asyncio.run(all_events())]
    assert told[0] == {"turn": 1}
    assert told[-1]["error"]["status"] == 503


def test_it_is_off_until_an_admin_switches_it_on(api: Api, engine: Engine, cast: Cast) -> None:
    mary = api("annotate", who="Mary")
    assert mary.post(f"{DEMO}/chats", json={"client_id": new_id()}).status_code == 409
    switched = api("admin", who="Grace").patch(DEMO, json={"chat_on": True})
    assert (switched.status_code, switched.json()["chat_on"]) == (200, True)
    assert mary.post(f"{DEMO}/chats", json={"client_id": new_id()}).status_code == 201


def test_nobody_sees_or_leads_anothers_talk(api: Api, engine: Engine, cast: Cast, talking: None) -> None:
    talk = Talk(engine, cast)
    for who in ("Grace", "Alan", "Eve"):
        other = api("annotate", who=who)
        assert other.get(f"/api/v1/chats/{talk.id}").status_code == 404
        said = {"client_id": new_id(), "text": "Hello?"}
        assert other.post(f"/api/v1/chats/{talk.id}/turns", json=said).status_code == 404
        chosen = {"client_id": new_id(), "turn": 1, "choice": "left"}
        assert other.post(f"/api/v1/chats/{talk.id}/choice", json=chosen).status_code == 404
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(ChatTurn)) == 0


def test_a_choice_that_was_on_its_way_is_kept_in_an_archived_project(api: Api, engine: Engine, cast: Cast, talking: None) -> None:
    talk = Talk(engine, cast)
    talk.keep(talk.say("Hello?"))
    assert api("admin", who="Grace").post(f"{DEMO}/archive").status_code == 200
    mary = api("annotate", who="Mary")
    chosen = {"client_id": new_id(), "turn": 1, "choice": "left"}
    assert mary.post(f"/api/v1/chats/{talk.id}/choice", json=chosen).status_code == 201
    assert mary.post(f"/api/v1/chats/{talk.id}/turns", json={"client_id": new_id(), "text": "On?"}).status_code == 409
