"""The audit trail's page and call: whose it is, what it says, and that it only shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from starlette.testclient import TestClient

import app
from app.audit.sentences import ACTIONS, DETAILS, SUBJECTS, VALUES, detail_pairs, subject_words
from app.database import audit
from app.database.engine import write_session
from app.language import languages
from app.projects.service import ProjectValues
from tests.app.conftest import Cast

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]


def test_an_admin_reads_who_did_what_in_words(as_user: AsUser, cast: Cast) -> None:
    grace = as_user("Grace")
    grace.post(f"/projects/demo/people/{cast.mary}/role", data={"role": "reviewer"})

    page = grace.get("/projects/demo/audit").text

    assert "changed a role" in page
    assert "Grace" in page
    assert f"user {cast.mary}" not in page
    assert '<td dir="auto" data-label="To what">Mary</td>' in page
    assert "reviewer" in page


def test_a_project_sees_its_own_entries_and_the_owner_all(as_user: AsUser, api: Api, cast: Cast, engine: Engine) -> None:
    with write_session(engine) as session:
        audit.record(session, cast.eve, "policy.promoted", "checkpoint 5", project_id=cast.other)
        audit.record(session, None, "owner_link.made", "invitation 3")
    assert "checkpoint 5" not in as_user("Grace").get("/projects/demo/audit").text
    assert as_user("Grace").get("/audit").status_code == 403
    page = as_user("Ada").get("/audit").text
    assert "checkpoint 5" in page
    assert "the machine" in page
    items = api("admin").get("/api/v1/audit").json()["items"]
    assert [item["action"] for item in items[:2]] == ["owner_link.made", "policy.promoted"]
    assert api("admin", who="Grace").get("/api/v1/audit").status_code == 403


def test_it_is_filtered_by_thing_and_by_person_and_read_page_by_page(api: Api, cast: Cast, engine: Engine) -> None:
    with write_session(engine) as session:
        for number in range(5):
            audit.record(session, cast.grace, "run.queued", f"run {number}", project_id=cast.demo)
            audit.record(session, cast.alan, "prompts.imported", f"import {number}", project_id=cast.demo)
    grace, at = api("admin", who="Grace"), "/api/v1/projects/demo/audit"
    first = grace.get(at, params={"thing": "run", "limit": 3}).json()
    rest = grace.get(at, params={"thing": "run", "limit": 3, "cursor": first["next_cursor"]}).json()
    assert [item["subject"] for item in first["items"] + rest["items"]] == [f"run {number}" for number in (4, 3, 2, 1, 0)]
    assert {item["actor"] for item in grace.get(at, params={"actor": cast.alan}).json()["items"]} == {"Alan"}


def test_every_action_that_is_noted_has_words() -> None:
    """Found in the source, so that a new one is not forgotten."""
    noted: set[str] = set()
    for path in Path(str(app.__file__)).parent.rglob("*.py"):
        if "audit" not in path.read_text("utf-8"):
            continue
        noted |= set(re.findall(r'record\(\s*session,\s*[^"]*?"([a-z_]+\.[a-z_]+)"', path.read_text("utf-8")))
    assert len(noted) > 15
    assert noted - ACTIONS.keys() == set()


def test_a_person_reads_what_happened_to_their_account(as_user: AsUser, api: Api, engine: Engine, cast: Cast) -> None:
    as_user("Grace").post(f"/projects/demo/people/{cast.mary}/role", data={"role": "reviewer"})
    mary = as_user("Mary")
    mary.post("/account/keys", data={"scopes": "annotate"})
    with write_session(engine) as session:
        audit.record(session, None, "sign_in.failed", f"user {cast.mary}", {"wrong": "password", "address": "203.0.113.9"})
        audit.record(session, None, "sign_in.failed", f"user {cast.mary}0", {"address": "198.51.100.1"})
        audit.record(session, cast.mary, "prompts.imported", "", {"created": 3})

    page = mary.get("/account/events").text

    for words in ("changed a role", "Grace", "made an API key", "failed to sign in", "203.0.113.9", "somebody"):
        assert words in page
    mary.headers["accept-language"] = "zh-TW"
    assert "錯在" in mary.get("/account/events").text
    assert "198.51.100.1" not in page, "of another person"
    assert "imported" not in page, "nothing of security"
    events = api("admin", who="Mary").get("/api/v1/users/me/events").json()["items"]
    assert [event["action"] for event in events] == ["sign_in.failed", "key.made", "role.changed"]
    assert [event["actor"] for event in events] == ["", "Mary", "Grace"]
    assert "changed a role" not in as_user("Eve").get("/account/events").text


def test_ones_own_events_are_paged(as_user: AsUser, api: Api, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        for number in range(60):
            audit.record(session, cast.mary, "key.made", f"key {number}", {"number": number})
    first = as_user("Mary").get("/account/events").text
    older = re.search(r'href="(/account/events\?before=\d+)"', first)
    assert older is not None
    assert as_user("Mary").get(older[1]).text.count("made an API key") == 10
    program = api("admin", who="Mary")
    page = program.get("/api/v1/users/me/events", params={"limit": 40}).json()
    rest = program.get("/api/v1/users/me/events", params={"limit": 40, "cursor": page["next_cursor"]}).json()
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (40, 20, None)


def test_every_subject_and_detail_that_is_noted_has_words() -> None:
    """Likewise; `details` of more than one line are looked for by their names in quotes."""
    source = "\n".join(
        text for path in Path(str(app.__file__)).parent.rglob("*.py") if "record(" in (text := path.read_text("utf-8"))
    )
    notes = re.findall(r'record\(\s*session,[^"]*"[a-z_]+\.[a-z_]+"(.*?)\)\n', source, re.S)
    assert len(notes) > 30
    subjects = {found for note in notes for found in re.findall(r'f"([a-z ]+) \{', note)}
    assert subjects - SUBJECTS.keys() == set()
    details = {found for note in notes for found in re.findall(r'[{ ]"([a-z_]+)":', note)}
    details |= {found for line in re.findall(r"details = (\{.*\})", source) for found in re.findall(r'[{ ]"([a-z_]+)":', line)}
    assert len(details) > 15
    assert details - DETAILS.keys() == set()


def test_every_setting_of_a_project_has_its_name() -> None:
    assert ProjectValues.__annotations__.keys() - VALUES["fields"].keys() == set()


def test_what_was_done_is_said_in_the_readers_language() -> None:
    try:
        languages.use("zh-Hant")
        assert subject_words("run 12", {}) == "執行 12"
        assert subject_words("round 2", {}) == "第 2 輪"
        assert subject_words("3 prompts", {}) == "3 則提示"
        assert subject_words("my-project", {}) == "my-project"
        assert [subject_words("user 5", names) for names in ({5: "Ada"}, {})] == ["Ada", "使用者 5"]
        assert detail_pairs("role.changed", {"from": "annotator", "to": "admin"}) == [("之前", "標註者"), ("之後", "管理者")]
        assert detail_pairs("name.changed", {"from": "admin", "to": "Ada"}) == [("之前", "admin"), ("之後", "Ada")]
        assert detail_pairs("project.changed", {"fields": ["name", "flags"]}) == [("設定", "名稱、標記")]
        assert detail_pairs("run.queued", {"kind": "sample", "made_up": 3}) == [("種類", "取樣"), ("made up", "3")]
    finally:
        languages.use("en")
