"""Guidelines in versions: who is told what changed, once, in the page and over the API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.accounts.service import add_member
from app.database.engine import write_session
from app.errors import Conflict
from app.guidelines import service
from app.guidelines.service import checked, note_seen, untold_change
from app.models import Membership, Project
from app.projects.service import update_project
from tests.app import factories
from tests.app.conftest import Cast

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]
GUIDELINES = "/projects/demo/guidelines"


def rewrite(engine: Engine, cast: Cast, text: str) -> None:
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, cast.demo), {"guidelines": text}, by=cast.grace)


def seen(engine: Engine, user_id: int) -> int | None:
    with write_session(engine) as session:
        return session.scalars(select(Membership.seen_guideline_version).where(Membership.user_id == user_id)).first()


def told(engine: Engine, cast: Cast, version: int | None) -> None:
    with write_session(engine) as session:
        for membership in session.scalars(select(Membership).where(Membership.project_id == cast.demo)):
            membership.seen_guideline_version = version


def test_a_change_is_shown_until_it_is_read_and_never_again(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    told(engine, cast, 1)
    rewrite(engine, cast, "Prefer the answer that is *kind*.")
    mary, alan = as_user("Mary"), as_user("Alan")
    page = mary.get(GUIDELINES).text
    assert "The guidelines changed since your last visit" in page
    assert "<del>" in page
    assert "kind</ins>" in page

    assert mary.post(f"{GUIDELINES}/seen", data={"version": "2"}).headers["location"] == "/projects/demo/annotate"

    assert "since your last visit" not in mary.get(GUIDELINES).text
    assert "since your last visit" in alan.get(GUIDELINES).text, "each person is told for themselves"
    rewrite(engine, cast, "Prefer the answer that is *short*.")
    assert "since your last visit" in mary.get(GUIDELINES).text


def test_nobody_has_read_a_version_that_is_not_written_yet(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    told(engine, cast, 1)
    as_user("Mary").post(f"{GUIDELINES}/seen", data={"version": "99"})
    assert seen(engine, cast.mary) == 1


def test_what_was_changed_and_changed_back_is_no_news(engine: Engine, cast: Cast) -> None:
    told(engine, cast, 1)
    rewrite(engine, cast, "Something else.")
    rewrite(engine, cast, "Prefer the answer that is *true*.")
    with write_session(engine) as session:
        assert untold_change(session, session.get_one(Project, cast.demo), cast.mary) is None


def test_who_joins_begins_with_the_guidelines_in_force(engine: Engine, cast: Cast) -> None:
    rewrite(engine, cast, "Second.")
    with write_session(engine) as session:
        person = factories.make_user(session, "Edsger").id
        add_member(session, person, cast.demo, "annotator")
        project = session.get_one(Project, cast.demo)
        session.flush()
        assert untold_change(session, project, person) is None
        note_seen(session, project, person, 1)
        change = untold_change(session, project, person)
        assert change is not None
        assert (change.since, change.version) == (1, 2)


def test_an_earlier_version_can_be_read_and_says_that_it_is_old(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    rewrite(engine, cast, "Second.")
    page = as_user("Mary").get(f"{GUIDELINES}?version=1").text
    assert "<em>true</em>" in page
    assert "no longer in force" in page
    assert as_user("Mary").get(f"{GUIDELINES}?version=3").status_code == 404


def test_a_program_reads_what_changed_and_says_it_knows(api: Api, engine: Engine, cast: Cast) -> None:
    told(engine, cast, 1)
    rewrite(engine, cast, "Prefer the answer that is *kind*.")
    mary = api("annotate", who="Mary")
    read = mary.get("/api/v1/projects/demo/guidelines").json()
    assert (read["version"], read["change"]["since"]) == (2, 1)
    assert {"kind": "new", "text": "kind"} in read["change"]["lines"][0]
    versions = mary.get("/api/v1/projects/demo/guidelines/versions").json()["items"]
    assert [(version["version"], version["author"]) for version in versions] == [(2, "Grace"), (1, None)]

    assert mary.post("/api/v1/projects/demo/guidelines/seen", json={"version": 2}).status_code == 204
    assert mary.get("/api/v1/projects/demo/guidelines").json()["change"] is None


def test_a_program_reads_what_changed_between_any_two_versions_as_plain_text(api: Api, engine: Engine, cast: Cast) -> None:
    rewrite(engine, cast, "Prefer the answer that is *kind*.\nShort is fine.")
    rewrite(engine, cast, "Prefer the answer that is *kind*.\nLong is fine.")
    mary, where = api("annotate", who="Mary"), "/api/v1/projects/demo/guidelines/changes"
    first = mary.get(where, params={"since": 1, "version": 2}).json()
    assert first["text"].split("\n") == [
        "--- Version 1",
        "+++ Version 2",
        "@@ -1 +1,2 @@",
        "-Prefer the answer that is *true*.",
        "+Prefer the answer that is *kind*.",
        "+Short is fine.",
    ]
    latest = mary.get(where, params={"since": 2}).json()
    assert (latest["since"], latest["version"]) == (2, 3)
    assert {"kind": "new", "text": "Long"} in latest["lines"][1]
    assert mary.get(where, params={"since": 3}).json()["text"] == ""
    assert mary.get(where, params={"since": 9}).status_code == 404
    assert mary.get(where).status_code == 422


def test_guidelines_may_begin_with_an_indent() -> None:
    assert checked("\n    code first\r\n\r\nThen words.\n\n") == "    code first\n\nThen words."


def test_guidelines_have_so_many_versions(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_VERSIONS", 3)
    rewrite(engine, cast, "Two.")
    rewrite(engine, cast, "Three.")
    with pytest.raises(Conflict, match="These guidelines have 3 versions, and that is the most there can be"):
        rewrite(engine, cast, "Four.")
    rewrite(engine, cast, "Three.")
