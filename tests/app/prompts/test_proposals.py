"""Prompts from talks wait until an admin has looked at them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from app.database.engine import read_session, write_session
from app.errors import Conflict, NotFound
from app.models import Project, Prompt
from app.prompts import proposals, search
from app.prompts.service import Message
from tests.app import factories
from tests.app.conftest import Cast


def said(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def proposed(engine: Engine, cast: Cast, *texts: str) -> list[int]:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        found = [proposals.prompt_of(session, project, said(text)) for text in texts]
        for prompt_id in found:
            proposals.propose(session, cast.demo, prompt_id, cast.mary)
        return found


def test_a_new_prompt_is_put_away_and_one_that_is_there_stays_as_it_is(engine: Engine, cast: Cast) -> None:
    new, same = proposed(engine, cast, "Hello?", "  hello? ")
    assert new == same
    with write_session(engine) as session:
        assert session.get_one(Prompt, new).archived_at is not None
        known = proposals.prompt_of(session, session.get_one(Project, cast.demo), said("Known?"))
        session.get_one(Prompt, known).archived_at = None
        session.flush()
        proposals.propose(session, cast.demo, known, cast.mary)
        assert [one.prompt.id for one in proposals.list_waiting(session, cast.demo)] == [new]


def test_what_an_admin_accepts_is_in_use_and_what_they_refuse_is_not(engine: Engine, cast: Cast) -> None:
    first, second, third = proposed(engine, cast, "One?", "Two?", "Three?")
    with write_session(engine) as session:
        assert [(one.prompt.id, one.author) for one in proposals.list_waiting(session, cast.demo, limit=2)] == [
            (first, "Mary"),
            (second, "Mary"),
        ]
        for _ in range(2):
            assert proposals.decide(session, first, cast.grace, accepted=True).archived_at is None
            assert proposals.decide(session, second, cast.grace, accepted=False).archived_at is not None
        with pytest.raises(Conflict):
            proposals.decide(session, first, cast.grace, accepted=False)
        assert proposals.count_waiting(session, cast.demo) == 1
        search.put_away(session, cast.demo, [third], cast.grace, back=True)
        assert proposals.count_waiting(session, cast.demo) == 0, "it was found among what is put away"
        with pytest.raises(NotFound):
            proposals.decide(session, factories.make_prompt(session, cast.demo).id, cast.grace, accepted=True)


def test_a_refused_prompt_is_not_proposed_again(engine: Engine, cast: Cast) -> None:
    (prompt_id,) = proposed(engine, cast, "One?")
    with write_session(engine) as session:
        proposals.decide(session, prompt_id, cast.grace, accepted=False)
    proposed(engine, cast, "One?")
    with read_session(engine) as session:
        assert proposals.count_waiting(session, cast.demo) == 0
