"""Languages and skills of people: set by an admin or themselves; and prompts that are for nobody."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.assignment.people import kept_from_person, unseen
from app.database.engine import read_session, write_session
from app.models import AuditEntry, Membership, Project, utc_now
from tests.app import factories
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
As = Callable[[str], TestClient]


def member(session: Session, project_id: int, user_id: int) -> Membership:
    return session.scalars(select(Membership).where(Membership.project_id == project_id, Membership.user_id == user_id)).one()


def test_an_admin_says_them_by_page_and_by_call(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    grace, program = as_user("Grace"), api("admin", who="Grace")
    saved = grace.post(f"/projects/demo/people/{cast.mary}/assignment", data={"languages": "EN, zh-hant", "skills": "Law"})
    assert saved.status_code == 303
    page = grace.get("/projects/demo/people").text
    assert 'value="en, zh-Hant"' in page
    assert 'value="law"' in page
    path = f"/api/v1/projects/demo/people/{cast.mary}/assignment"
    assert program.put(path, json={"skills": []}).json() == {"languages": ["en", "zh-Hant"], "skills": []}
    members = {one["name"]: one["languages"] for one in program.get("/api/v1/projects/demo/people").json()["items"]}
    assert members["Mary"] == ["en", "zh-Hant"]
    refused = program.put(path, json={"languages": ["English"], "skills": ["a%"]})
    assert refused.status_code == 422
    assert {one["field"] for one in refused.json()["errors"]} == {"languages", "skills"}
    assert program.put(f"/api/v1/projects/demo/people/{cast.eve}/assignment", json={"skills": []}).status_code == 404
    assert as_user("Mary").post(f"/projects/demo/people/{cast.mary}/assignment", data={"skills": "law"}).status_code == 403
    with read_session(engine) as session:
        noted = session.scalars(select(AuditEntry).where(AuditEntry.action == "person.assigned").order_by(AuditEntry.id)).all()
    assert [(one.actor_id, one.subject) for one in noted] == [(cast.grace, f"user {cast.mary}")] * 2


def test_people_say_their_own_languages_and_no_skills(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    mary = as_user("Mary")
    said = mary.post("/projects/demo/languages", data={"languages": "de", "skills": "law"})
    assert said.status_code == 303
    assert 'value="de"' in mary.get(said.headers["location"]).text
    assert api("annotate", who="Mary").put("/api/v1/projects/demo/languages", json={"languages": ["fr"]}).json() == {
        "languages": ["fr"],
        "skills": [],
    }
    with read_session(engine) as session:
        assert member(session, cast.demo, cast.mary).skills == []


def test_prompts_that_are_for_nobody_are_said(engine: Engine, cast: Cast, as_user: As) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.audiences = ["* law", "de", "en"]
        for word in ("* law", "* law", "de"):
            factories.make_prompt(session, cast.demo).audience = word
        factories.make_prompt(session, cast.demo).archived_at = utc_now()
        for one in session.scalars(select(Membership).where(Membership.project_id == cast.demo)):
            one.languages = ["en"]
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert [one.words for one in unseen(session, project)] == ["law (2 prompts)", "de (1 prompt)"]
        assert kept_from_person(session, project, cast.mary) == "\n* law\nde\n"
    for path in ("/projects/demo", "/projects/demo/prompts"):
        assert "law (2 prompts), de (1 prompt)" in as_user("Grace").get(path).text

    with write_session(engine) as session:
        alan = session.scalars(
            select(Membership).where(Membership.user_id == cast.alan, Membership.project_id == cast.demo)
        ).one()
        alan.languages, alan.skills = [], ["law"]
    with read_session(engine) as session:
        assert unseen(session, session.get_one(Project, cast.demo)) == []
    with write_session(engine) as session:
        alan = session.scalars(
            select(Membership).where(Membership.user_id == cast.alan, Membership.project_id == cast.demo)
        ).one()
        alan.paused_at = utc_now()
    with read_session(engine) as session:
        assert len(unseen(session, session.get_one(Project, cast.demo))) == 2, "who is paused is asked nothing"
