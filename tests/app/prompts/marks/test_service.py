"""Language, tags and skills of prompts: imported with them, found by them, changed for many at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.assignment import people
from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.models import Project, Prompt
from app.prompts.marks.service import Change, change_of, mark
from app.prompts.search import PromptFilter
from tests.app import factories
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
As = Callable[[str], TestClient]
CALL = "/api/v1/projects/demo/prompts"


def bring_in(api: Api, *items: dict[str, Any]) -> Any:
    return api("admin", who="Grace").post(CALL, json={"items": list(items)})


def audiences(engine: Engine, cast: Cast) -> list[str] | None:
    with read_session(engine) as session:
        return session.get_one(Project, cast.demo).audiences


def test_they_come_in_with_prompts_and_find_them(engine: Engine, cast: Cast, api: Api) -> None:
    reply = bring_in(
        api,
        {"text": "Wann?", "language": "DE", "tags": ["Zeit", "kurz"], "skills": "law"},
        {"text": "何時？", "language": "zh-hant", "tags": "時間, 短"},
        {"text": "When?", "tags": {"an": "object"}},
    )
    assert reply.json()["created"] == 3
    program = api("admin", who="Grace")

    def found(**narrowed: str) -> list[str]:
        return [one["messages"][0]["content"] for one in program.get(CALL, params=narrowed).json()["items"]]

    assert found(language="de") == found(tag="kurz") == found(skill="law") == ["Wann?"]
    assert found(tag="時間") == found(language="zh-Hant") == ["何時？"]
    assert found(tag="kur") == [], "a tag is a whole word"
    assert found(language="ZH-hant") == found(tag="短") == ["何時？"], "written as it may be"
    assert found(language="-") == ["When?"]
    bring_in(api, {"text": "Who?", "skills": "Contract Law"})
    assert found(skill="Contract law") == ["Who?"]
    first = program.get(CALL, params={"language": "de"}).json()["items"][0]
    assert (first["language"], first["tags"], first["skills"]) == ("de", ["kurz", "zeit"], ["law"])
    assert audiences(engine, cast) == ["* contract-law", "de law", "zh-Hant"]


def test_they_come_in_with_a_table(api: Api) -> None:
    program = api("admin", who="Grace")
    table = "text,Language,Tags,skills\nWann?,de,kurz;alt,\nWhen?,,,law\n"
    assert program.post(CALL, content=table, headers={"content-type": "text/csv"}).json()["created"] == 2
    found = program.get(CALL).json()["items"]
    assert [(one["language"], one["tags"], one["skills"]) for one in found] == [(None, [], ["law"]), ("de", ["alt", "kurz"], [])]


def test_one_language_of_a_published_set_that_nobody_can_read_keeps_nothing_out(engine: Engine, cast: Cast, api: Api) -> None:
    reply = bring_in(api, {"text": "When?", "language": "Unknown"}, {"text": "Wann?", "language": "German"})
    assert reply.json()["created"] == 2
    with read_session(engine) as session:
        found = session.execute(
            select(Prompt.language, Prompt.extra).where(Prompt.project_id == cast.demo).order_by(Prompt.id)
        ).all()
    assert [tuple(one) for one in found] == [(None, {"language": "Unknown"}), ("de", {"language": "German"})]


def test_skills_that_cannot_be_read_are_said_with_their_line(engine: Engine, cast: Cast, api: Api) -> None:
    reply = bring_in(api, {"text": "When?"}, {"text": "Wann?", "skills": {"law": 1}})
    assert reply.status_code == 422
    assert [one["line"] for one in reply.json()["rejected"]] == [2]
    assert audiences(engine, cast) is None


def test_too_many_combinations_keep_everything_out(engine: Engine, cast: Cast, api: Api) -> None:
    reply = bring_in(api, *({"text": f"Number {n}?", "skills": f"s{n}"} for n in range(201)))
    assert reply.status_code == 422
    with read_session(engine) as session:
        assert session.scalars(select(Prompt.id).where(Prompt.project_id == cast.demo)).all() == []


def test_many_are_changed_by_page_and_by_call(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    bring_in(api, {"text": "One?"}, {"text": "Two?", "tags": "old"}, {"text": "Three?", "language": "fr"})
    grace, program = as_user("Grace"), api("admin", who="Grace")
    everything = {"all": "on", "set_language": "en", "add_tags": "new", "remove_tags": "old", "add_skills": "law"}
    changed = grace.post("/projects/demo/prompts/marks?text=T", data=everything)
    assert changed.status_code == 303
    assert changed.headers["location"] == "/projects/demo/prompts?text=T"
    items = {one["messages"][0]["content"]: one for one in program.get(CALL).json()["items"]}
    assert [items[name]["language"] for name in ("One?", "Two?", "Three?")] == [None, "en", "en"]
    assert items["Two?"]["tags"] == ["new"]
    assert audiences(engine, cast) == ["en law"], "nobody has French any more"
    page = grace.get("/projects/demo/prompts").text
    told = "Nobody here may be asked about some prompts"
    assert told in page
    assert told in grace.get("/projects/demo").text
    assert told not in as_user("Alan").get("/projects/demo").text, "a reviewer can do nothing about it"
    assert page.index("/prompts/marks") < page.index("Put away</button>"), "what Enter in a field sends puts nothing away"

    ids = [one["id"] for one in items.values()]
    clear = program.post(f"{CALL}/marks", json={"ids": ids, "language": "", "remove_skills": ["law"]})
    assert clear.json() == {"changed": 2}
    assert audiences(engine, cast) is None
    assert program.post(f"{CALL}/marks", json={"ids": ids}).status_code == 422
    wrong = program.post(f"{CALL}/marks", json={"ids": ids, "language": "English", "add_tags": ["%"]})
    assert {one["field"] for one in wrong.json()["errors"]} == {"language", "add_tags"}
    assert grace.post("/projects/demo/prompts/marks", data={"id": ids[0], "set_language": "nonsense"}).status_code == 422


def test_other_projects_and_full_prompts_are_left(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        theirs = factories.make_prompt(session, cast.other).id
        full = factories.make_prompt(session, cast.demo)
        full.skills = [f"s{n}" for n in range(10)]
        session.flush()
        number = full.id
    assert mark(engine, cast.demo, [theirs], Change(language="en"), None) == 0
    with pytest.raises(Invalid, match=str(number)):
        mark(engine, cast.demo, PromptFilter(), change_of({"add_skills": ["law"]}), None)
    with read_session(engine) as session:
        assert session.get_one(Prompt, theirs).language is None
        assert people.unseen(session, session.get_one(Project, cast.demo)) == []


def test_what_came_with_a_prompt_stays_as_it_was_said(engine: Engine, cast: Cast, api: Api) -> None:
    """An export gives back what its owner said of a prompt, the same bytes whatever it is marked with later."""
    bring_in(api, {"text": "One?", "language": "en", "tags": ["a"]})
    mark(engine, cast.demo, PromptFilter(), Change(language=""), None)
    with read_session(engine) as session:
        prompt = session.scalars(select(Prompt).where(Prompt.project_id == cast.demo)).one()
        assert json.dumps(prompt.extra, sort_keys=True) == '{"language": "en", "tags": ["a"]}'
