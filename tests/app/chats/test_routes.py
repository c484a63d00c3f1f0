"""Pages of talks, as they work without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session
from app.models import Label
from app.serving import warm_process
from tests.app.chats.talk import Talk, new_id
from tests.app.conftest import Cast
from trainer.worker.warm import Warm

As = Callable[[str], TestClient]


def field(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def test_a_talk_is_begun_chosen_in_and_listed(as_user: As, engine: Engine, cast: Cast, talking: None) -> None:
    mary = as_user("Mary")
    listed = mary.get("/projects/demo/chats").text
    begun = mary.post("/projects/demo/chats", data={"client_id": field(listed, "client_id")})
    assert begun.status_code == 303
    assert mary.get(begun.headers["location"]).status_code == 200

    talk = Talk(engine, cast)
    talk.keep(talk.say("Is it <b>far</b>?"), "Very.", "Not at all.")
    page = mary.get(f"/chats/{talk.id}").text
    assert "Is it &lt;b&gt;far&lt;/b&gt;?" in page
    assert page.index("Very.") < page.index("Not at all.")
    form = {"client_id": field(page, "client_id"), "turn": field(page, "turn"), "active_ms": "800", "wall_ms": ""}
    refused = mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "both_bad", "words": ""})
    assert (refused.status_code, "write what it should have said" in refused.text) == (422, True)
    for _ in range(2):
        chosen = mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "both_bad", "words": "384,400 km."})
        assert chosen.status_code == 303
    assert "You, in its place" in mary.get(f"/chats/{talk.id}").text
    assert f"/chats/{talk.id}" in mary.get("/projects/demo/chats").text
    with read_session(engine) as session:
        label = session.scalars(select(Label)).one()
        assert (label.choice, label.active_ms, label.rewrite) == ("both_bad", 800, {"side": "left", "text": "384,400 km."})


def test_flags_strength_and_a_comment_are_said_as_on_the_desk(as_user: As, engine: Engine, cast: Cast, talking: None) -> None:
    mary, talk = as_user("Mary"), Talk(engine, cast)
    talk.keep(talk.say("Is it far?"), "Very.", "Not at all.")
    page = mary.get(f"/chats/{talk.id}").text
    flags = re.findall(r'name="flags\.(left|right)" value="(\w+)" form="choice"', page)
    assert {side for side, _key in flags} == {"left", "right"}
    key = flags[0][1]
    form = {"client_id": field(page, "client_id"), "turn": "1", "strength": "2", "flags.right": [key], "comment": "So\r\nso."}
    refused = mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "both_bad", "words": ""})
    assert refused.status_code == 422
    assert re.search(f'name="flags.right" value="{key}" form="choice" checked', refused.text), "nothing that was said is lost"
    assert "So\nso.</textarea>" in refused.text.replace("\r", "")
    assert mary.post(f"/chats/{talk.id}/choice", data=form | {"choice": "left"}).status_code == 303
    with read_session(engine) as session:
        label = session.scalars(select(Label)).one()
    assert (label.choice, label.strength, label.flags, label.comment) == ("left", 2, {"right": [key]}, "So\nso.")


def test_a_strength_that_was_chosen_before_a_tie_is_left_out(as_user: As, engine: Engine, cast: Cast, talking: None) -> None:
    mary, talk = as_user("Mary"), Talk(engine, cast)
    talk.keep(talk.say("Is it far?"), "Very.", "Not at all.")
    form = {"client_id": new_id(), "turn": "1", "strength": "3", "choice": "tie"}
    assert mary.post(f"/chats/{talk.id}/choice", data=form).status_code == 303
    with read_session(engine) as session:
        assert session.scalars(select(Label.strength)).one() is None


@pytest.mark.timeout(300)
def test_what_is_said_in_a_form_is_answered_on_the_next_page(
    as_user: As, engine: Engine, cast: Cast, talking: None, live: dict[str, int], warm: Warm
) -> None:
    mary, talk = as_user("Mary"), Talk(engine, cast)
    said = mary.post(f"/chats/{talk.id}/turns", data={"client_id": new_id(), "text": "Hello?"})
    assert said.status_code == 303
    assert "Which answer goes on?" in mary.get(f"/chats/{talk.id}").text


def test_where_the_models_are_away_what_was_said_stands_in_the_form(
    as_user: As, engine: Engine, cast: Cast, talking: None, live: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_process, "START_S", 0.2)
    mary, talk, said = as_user("Mary"), Talk(engine, cast), new_id()
    page = mary.post(f"/chats/{talk.id}/turns", data={"client_id": said, "text": "Hello?"})
    assert (page.status_code, field(page.text, "client_id")) == (503, said)
    assert "Hello?</textarea>" in page.text


def test_where_it_is_off_nothing_leads_there(as_user: As, cast: Cast) -> None:
    mary = as_user("Mary")
    assert "/projects/demo/chats" not in mary.get("/projects/demo/guidelines").text
    page = mary.get("/projects/demo/chats").text
    assert "Talking is switched off" in page
    assert mary.post("/projects/demo/chats", data={"client_id": new_id()}).status_code == 409


def test_an_admin_takes_what_was_written_into_use(as_user: As, engine: Engine, cast: Cast, talking: None) -> None:
    Talk(engine, cast).turn("Why?", "left")
    grace = as_user("Grace")
    assert "From talks, to be looked at" in grace.get("/projects/demo/prompts").text
    page = grace.get("/projects/demo/prompts/proposed").text
    found = re.search(r"/prompts/(\d+)/acceptance", page)
    assert found is not None
    assert grace.post(f"/prompts/{found[1]}/acceptance").status_code == 303
    assert "Nothing is proposed" in grace.get("/projects/demo/prompts/proposed").text
    assert grace.post(f"/prompts/{found[1]}/refusal").status_code == 409
