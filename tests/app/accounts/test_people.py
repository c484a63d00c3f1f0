"""A project's people, and people over the API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.accounts import service
from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid
from app.models import AuditEntry, Membership, User
from app.web.security import hash_password
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]


def roles(engine: Engine, project_id: int) -> dict[int, str]:
    with read_session(engine) as session:
        rows = session.execute(select(Membership.user_id, Membership.role).where(Membership.project_id == project_id))
        return {row.user_id: row.role for row in rows}


def test_the_page_lists_the_members_of_this_project_only(as_user: AsUser) -> None:
    page = as_user("Grace").get("/projects/demo/people").text
    assert "mary@example.org" in page
    assert "alan@example.org" in page
    assert "eve@example.org" not in page


def test_an_admin_changes_a_role(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    assert as_user("Grace").post(f"/projects/demo/people/{cast.mary}/role", data={"role": "reviewer"}).status_code == 303
    assert roles(engine, cast.demo)[cast.mary] == "reviewer"
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "role.changed")).one()
    assert (entry.actor_id, entry.details) == (cast.grace, {"from": "annotator", "to": "reviewer"})


def test_a_role_that_another_admin_changed_meanwhile_is_not_overwritten_unseen(
    as_user: AsUser, engine: Engine, cast: Cast
) -> None:
    address = f"/projects/demo/people/{cast.mary}/role"
    page = as_user("Grace").get("/projects/demo/people").text
    assert '<input type="hidden" name="seen" value="annotator">' in page
    assert as_user("Ada").post(address, data={"role": "admin", "seen": "annotator"}).status_code == 303
    refused = as_user("Grace").post(address, data={"role": "reviewer", "seen": "annotator"})
    assert (refused.status_code, roles(engine, cast.demo)[cast.mary]) == (409, "admin")
    assert "it is “admin” now" in refused.text
    assert as_user("Grace").post(address, data={"role": "reviewer", "seen": "admin"}).status_code == 303
    assert roles(engine, cast.demo)[cast.mary] == "reviewer"


@pytest.mark.parametrize("role", ["owner", "god", ""])
def test_a_role_that_is_none_is_refused(as_user: AsUser, engine: Engine, cast: Cast, role: str) -> None:
    assert as_user("Grace").post(f"/projects/demo/people/{cast.mary}/role", data={"role": role}).status_code == 422
    assert roles(engine, cast.demo)[cast.mary] == "annotator"


def test_nobody_changes_their_own_role(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    grace = as_user("Grace")
    assert grace.post(f"/projects/demo/people/{cast.grace}/role", data={"role": "annotator"}).status_code == 403
    assert grace.post(f"/projects/demo/people/{cast.grace}/removal").status_code == 403
    assert roles(engine, cast.demo)[cast.grace] == "admin"


def test_someone_removed_can_no_longer_open_the_project(as_user: AsUser, cast: Cast) -> None:
    mary = as_user("Mary")
    assert mary.get("/projects/demo/guidelines").status_code == 200
    as_user("Grace").post(f"/projects/demo/people/{cast.mary}/removal")
    assert mary.get("/projects/demo/guidelines").status_code == 404


def test_the_people_of_another_project_cannot_be_touched(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    eve = as_user("Eve")
    assert eve.post(f"/projects/other/people/{cast.mary}/role", data={"role": "admin"}).status_code == 404
    assert eve.post(f"/projects/demo/people/{cast.mary}/role", data={"role": "admin"}).status_code == 404
    assert roles(engine, cast.demo)[cast.mary] == "annotator"


def test_an_admin_sees_the_people_of_their_projects_and_the_owner_everyone(api: Api) -> None:
    def seen(who: str) -> set[str]:
        return {person["name"] for person in api("admin", who=who).get("/api/v1/users").json()["items"]}

    assert seen("Grace") == {"Grace", "Alan", "Mary"}
    assert seen("Eve") == {"Eve"}
    assert seen("Ada") == {"Ada", "Grace", "Alan", "Mary", "Eve"}


def test_people_are_listed_page_by_page(api: Api) -> None:
    owner = api("admin")
    names: list[str] = []
    cursor = None
    for _ in range(5):
        page = owner.get("/api/v1/users", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        names += [person["name"] for person in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["Ada", "Grace", "Alan", "Mary", "Eve"]


def test_no_reply_carries_a_hash(api: Api) -> None:
    text = api("admin").get("/api/v1/users").text
    assert "hash" not in text
    assert "password" not in text


def test_an_admin_adds_a_program_to_their_own_projects_alone(api: Api) -> None:
    grace = api("admin", who="Grace")
    body = {"name": "Robot", "email": "robot@example.org", "role": "annotator", "projects": ["demo"]}
    assert grace.post("/api/v1/users", json={**body, "projects": ["other"]}).status_code == 404
    assert grace.post("/api/v1/users", json={**body, "projects": []}).status_code == 403
    made = grace.post("/api/v1/users", json=body)
    assert made.status_code == 201
    assert made.json()["projects"] == [{"slug": "demo", "name": "Demo", "role": "annotator"}]
    assert grace.post("/api/v1/users", json=body).status_code == 409


def test_nobody_becomes_owner_over_the_api(api: Api) -> None:
    body = {"name": "x", "email": "x@example.org", "projects": ["demo"]}
    assert api("admin", who="Grace").post("/api/v1/users", json={**body, "is_owner": True}).status_code == 422
    assert api("admin", who="Grace").post("/api/v1/users", json={**body, "role": "owner"}).status_code == 422


def test_health_tells_whether_the_worker_is_alive(visitor: TestClient) -> None:
    assert visitor.get("/api/v1/health").json() == {"status": "ok", "database": "at head", "worker": "away"}


# Over the API


def test_a_key_lists_members_changes_roles_and_removes(api: Api, engine: Engine, cast: Cast) -> None:
    grace = api("admin", who="Grace")
    listed = grace.get("/api/v1/projects/demo/people").json()["items"]
    assert {row["name"] for row in listed} == {"Grace", "Alan", "Mary"}
    assert grace.put(f"/api/v1/projects/demo/people/{cast.mary}/role", json={"role": "reviewer"}).status_code == 204
    assert roles(engine, cast.demo)[cast.mary] == "reviewer"
    assert grace.delete(f"/api/v1/projects/demo/people/{cast.mary}").status_code == 204
    assert cast.mary not in roles(engine, cast.demo)
    assert grace.delete(f"/api/v1/projects/demo/people/{cast.eve}").status_code == 404


# A person's own name and email


def test_a_name_changes_without_a_password(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    mary = as_user("Mary")
    data = {"name": "  Mary   Shelley ", "email": "mary@example.org"}
    assert mary.post("/account/profile", data=data).status_code == 303
    assert "Mary Shelley" in mary.get("/account").text


def test_another_email_asks_for_the_password(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(User, cast.mary).password_hash = hash_password("correct horse battery")
    mary = as_user("Mary")
    wanted = {"name": "Mary", "email": "mary.new@example.org"}
    refused = mary.post("/account/profile", data=wanted)
    assert refused.status_code == 422
    assert "Not your current password." in refused.text
    assert "mary.new@example.org" in refused.text  # what was written stands there still
    assert mary.post("/account/profile", data=wanted | {"current": "correct horse battery"}).status_code == 303
    with read_session(engine) as session:
        assert session.get_one(User, cast.mary).email == "mary.new@example.org"


def test_a_taken_email_is_refused_at_its_field(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(User, cast.mary).password_hash = hash_password("correct horse battery")
    taken = {"name": "Mary", "email": "ALAN@example.org", "current": "correct horse battery"}
    refused = as_user("Mary").post("/account/profile", data=taken)
    assert refused.status_code == 409
    assert "This address is taken." in refused.text


# One account for one address


@pytest.mark.parametrize(
    "typed",
    [
        *("mary\u200b@example.org", "ma\u00adry@example.org", "mary\ufe0f@example.org"),
        *("mary@exam\u2060ple.org", "\u3164mary@example.org"),
    ],
)
def test_a_character_nobody_sees_makes_no_second_account(engine: Engine, cast: Cast, typed: str) -> None:
    with write_session(engine) as session, pytest.raises(Invalid):
        service.add_user(session, "Mary", typed, None)


@pytest.mark.parametrize("typed", ["ｍａｒｙ@example.org", "MARY@EXAMPLE.ORG", " mary@example.org "])
def test_letters_that_are_one_make_no_second_account(engine: Engine, cast: Cast, typed: str) -> None:
    with write_session(engine) as session, pytest.raises(Conflict):
        service.add_user(session, "Mary", typed, None)
    with read_session(engine) as session:
        found = service.find_user(session, typed)
        assert found is not None
        assert found.id == cast.mary


def test_an_address_stored_before_that_still_signs_in(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.execute(update(User).where(User.id == cast.mary).values(email="ｍａｒｙ@example.org"))
    with read_session(engine) as session:
        found = service.find_user(session, "ｍａｒｙ@example.org")
        assert found is not None
        assert found.id == cast.mary


@pytest.mark.parametrize("name", ["\u200b", "\u3164\u3164", " \u00ad ", "\u0301"])
def test_a_name_that_nobody_sees_is_none(name: str) -> None:
    with pytest.raises(Invalid):
        service.clean_name(name)
