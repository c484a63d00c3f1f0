"""Talks: begun once, listed for their own person, shown turn by turn."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from app.chats import service
from app.database.engine import read_session, write_session
from app.errors import Conflict, NotFound
from tests.app.chats.talk import Talk, new_id
from tests.app.conftest import Cast


def test_a_talk_is_begun_once_and_by_one_person(engine: Engine, cast: Cast, talking: None) -> None:
    client_id = new_id()
    with write_session(engine) as session:
        first, again = (service.start(session, cast.demo, cast.mary, client_id).id for _ in range(2))
        assert first == again
        with pytest.raises(Conflict):
            service.start(session, cast.demo, cast.alan, client_id)


def test_ones_own_talks_are_listed_page_by_page(engine: Engine, cast: Cast, talking: None) -> None:
    talks = [Talk(engine, cast) for _ in range(3)]
    for number, talk in enumerate(talks[:2]):
        talk.turn(f"Hello {number}?", "left")
    talks[1].say("On?")
    with read_session(engine) as session:
        found = service.list_own(session, cast.demo, cast.mary, limit=1)
        assert [(one.id, one.said, one.turns) for one in found] == [(talks[1].id, "Hello 1?", 2)]
        older = service.list_own(session, cast.demo, cast.mary, before=found[0].id)
        assert [(one.id, one.turns) for one in older] == [(talks[0].id, 1)]
        assert service.list_own(session, cast.demo, cast.alan) == []


def test_a_talk_shows_how_each_of_its_turns_stands(engine: Engine, cast: Cast, talking: None) -> None:
    talk = Talk(engine, cast)
    talk.turn("One?", "both_bad", "Mine.")
    talk.keep(talk.say("Two?"), "A.", "B.")
    with read_session(engine) as session:
        chat = service.own_chat(session, talk.id, cast.mary)
        done, answered = service.turns_of(session, chat)
        assert (done.state, done.choice, done.reply) == ("done", "both_bad", "Mine.")
        assert (answered.state, answered.choice, answered.reply) == ("answered", None, None)
        assert answered.left == service.Continuation("A.", cut=False)
        with pytest.raises(NotFound):
            service.own_chat(session, talk.id, cast.alan)
