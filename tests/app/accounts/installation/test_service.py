"""Everybody who has an account: deactivating them, and handing the ownership on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.accounts.installation import service
from app.database.engine import read_session, write_session
from app.models import ApiKey, AuditEntry, Label, Membership, Project, User
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]


@pytest.fixture(autouse=True)
def _passwords(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.execute(update(User).values(password_hash="set"))


def test_the_owner_sees_everybody_and_finds_them(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_user(session, "Robot")
    owner = as_user("owner")
    page = owner.get("/people").text
    assert all(f"{name}@example.org" in page for name in ("ada", "grace", "alan", "mary", "eve", "robot"))
    assert "program" in page
    found = owner.get("/people", params={"find": "ALAN"}).text
    assert "alan@example.org" in found
    assert "mary@example.org" not in found
    assert "Nobody fits." in owner.get("/people", params={"find": "100%"}).text
    assert as_user("Grace").get("/people").status_code == 403


def test_everybody_is_paged(engine: Engine, cast: Cast) -> None:
    with read_session(engine) as session:
        first = service.list_everybody(session, limit=2)
        second = service.list_everybody(session, before=first[-1].id, limit=2)
    assert [one.name for one in (*first, *second)] == ["Eve", "Mary", "Alan", "Grace"]


def test_somebody_who_was_deactivated_comes_back_with_their_roles(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    owner = as_user("owner")
    owner.post(f"/people/{cast.mary}/deactivation")
    assert "deactivated" in owner.get("/people").text
    assert "deactivated" in owner.get("/projects/demo/people").text
    with read_session(engine) as session:
        assert session.scalar(select(Membership.role).where(Membership.user_id == cast.mary)) == "annotator"
    owner.post(f"/people/{cast.mary}/reactivation")
    assert as_user("Mary").get("/projects/demo/labels").status_code == 200
    with read_session(engine) as session:
        said = session.scalars(select(AuditEntry.action).where(AuditEntry.subject == f"user {cast.mary}")).all()
    assert {"person.deactivated", "person.reactivated"} <= set(said)


def test_a_program_deactivates_by_key_and_a_member_does_not(api: Api, cast: Cast) -> None:
    assert api("admin", who="Grace").post(f"/api/v1/users/{cast.mary}/deactivate").status_code == 403
    owner = api("admin")
    assert owner.post(f"/api/v1/users/{cast.mary}/deactivate").status_code == 204
    assert owner.post("/api/v1/users/999/deactivate").status_code == 404
    rows = {row["id"]: row["active"] for row in owner.get("/api/v1/users").json()["items"]}
    assert rows[cast.mary] is False
    assert rows[cast.grace] is True
    assert owner.post(f"/api/v1/users/{cast.mary}/reactivate").status_code == 204


def test_an_owner_is_replaced(as_user: AsUser, api: Api, engine: Engine, cast: Cast) -> None:
    """Ada makes Grace an owner; Grace ends Ada's ownership, and what she made with it."""
    ada_key = api("admin")
    minted = ada_key.post(f"/api/v1/users/{cast.alan}/keys", json={"scopes": ["export"]}).json()["id"]
    assert as_user("owner").post(f"/people/{cast.grace}/ownership").status_code == 303
    grace = as_user("Grace")
    assert grace.get("/people").status_code == 200

    assert grace.post(f"/people/{cast.ada}/ownership/end").status_code == 303

    assert as_user("owner").get("/people").status_code == 403
    with read_session(engine) as session:
        assert session.get_one(User, cast.ada).is_owner is False
        assert session.get_one(ApiKey, minted).revoked_at is not None


@pytest.mark.parametrize("what", ["ownership/end", "deactivation"])
def test_there_is_always_an_owner(as_user: AsUser, engine: Engine, cast: Cast, what: str) -> None:
    reply = as_user("owner").post(f"/people/{cast.ada}/{what}")
    assert reply.status_code == 409
    assert "Make somebody else an owner first" in reply.text
    with read_session(engine) as session:
        ada = session.get_one(User, cast.ada)
        assert ada.is_owner
        assert ada.disabled_at is None


def test_an_owner_who_cannot_sign_in_does_not_count(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.execute(update(User).where(User.id == cast.grace).values(is_owner=True, password_hash=None))
    assert as_user("owner").post(f"/people/{cast.ada}/ownership/end").status_code == 409


def test_a_program_is_made_no_owner(api: Api, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        robot = factories.make_user(session, "Robot").id
    assert api("admin").put(f"/api/v1/users/{robot}/ownership").status_code == 409


def test_labels_of_who_was_deactivated_stay(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        factories.make_task(session, project)
        label = judge(session, project, cast.mary, choice="left")
        label_id = label.id
    as_user("owner").post(f"/people/{cast.mary}/deactivation")
    with read_session(engine) as session:
        assert session.get_one(Label, label_id).annotator_id == cast.mary
