"""Who is out stays out: what somebody leaves behind ends with the rights it was made with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.accounts import invitations
from app.database.engine import read_session, write_session
from app.errors import NotAllowed
from app.models import ApiKey, AuditEntry, SignInSession, User
from app.web.security import hash_password
from tests.app import factories
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]

PASSWORD = "a sentence to remember"


@dataclass(frozen=True)
class LeftBehind:
    """What Grace, admin of the demo project, made while she was that."""

    program: str  # a key for a program of her project
    child: str  # a key for herself that her key minted
    grandchild: str
    own: str  # her own, made in the browser
    invitation: str

    def works(self, app: FastAPI, key: str) -> bool:
        program = TestClient(app, base_url="http://localhost")
        return program.get("/api/v1/users/me", headers={"authorization": f"Bearer {key}"}).status_code == 200

    def opens(self, app: FastAPI) -> bool:
        return TestClient(app, base_url="http://localhost").get(f"/invitations/{self.invitation}").status_code == 200


@pytest.fixture
def left(as_user: AsUser, app: FastAPI, engine: Engine, cast: Cast) -> LeftBehind:
    with write_session(engine) as session:
        session.execute(update(User).values(password_hash=hash_password(PASSWORD)))
    grace = as_user("Grace")
    own = re.search(r"tm_\d+_[\w-]{43}", grace.post("/account/keys", data={"scopes": "admin"}).text)
    link = re.search(r"/invitations/([\w-]{43})", grace.post("/projects/demo/invitations", data={"role": "admin"}).text)
    assert own is not None
    assert link is not None
    key = key_maker(app)
    robot = TestClient(app, base_url="http://localhost", headers={"authorization": f"Bearer {own[0]}"}).post(
        "/api/v1/users", json={"name": "Robot", "email": "robot@example.org", "role": "admin", "projects": ["demo"]}
    )
    child = key(own[0], cast.grace)
    return LeftBehind(
        program=key(own[0], robot.json()["id"]),
        child=child,
        grandchild=key(child, cast.grace),
        own=own[0],
        invitation=link[1],
    )


def key_maker(app: FastAPI) -> Callable[..., str]:
    def make(with_key: str, user_id: int, **more: object) -> str:
        program = TestClient(app, base_url="http://localhost", headers={"authorization": f"Bearer {with_key}"})
        reply = program.post(f"/api/v1/users/{user_id}/keys", json={"scopes": ["admin"], **more})
        assert reply.status_code == 201, reply.text
        made: str = reply.json()["key"]
        return made

    return make


def remove(owner: TestClient, cast: Cast) -> None:
    assert owner.post(f"/projects/demo/people/{cast.grace}/removal").status_code == 303


def demote(owner: TestClient, cast: Cast) -> None:
    assert owner.post(f"/projects/demo/people/{cast.grace}/role", data={"role": "reviewer"}).status_code == 303


@pytest.mark.parametrize("put_out", [remove, demote])
def test_a_removed_or_demoted_admin_leaves_no_invitation_and_no_key_behind(
    put_out: Callable[[TestClient, Cast], None], left: LeftBehind, as_user: AsUser, app: FastAPI, cast: Cast
) -> None:
    assert left.opens(app)
    assert left.works(app, left.program)

    put_out(as_user("owner"), cast)

    assert not left.opens(app), "an open invitation, here into the same role, would let them in again"
    assert not left.works(app, left.program), "a key for a program acts on when its maker may no longer act as it"
    assert not left.works(app, left.child)
    assert not left.works(app, left.grandchild)
    assert left.works(app, left.own), "their own key acts with the role they have now"


def test_a_programs_key_that_no_key_made_ends_too(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    with write_session(engine) as session:
        robot = factories.make_user(session, "Robot")
        factories.make_membership(session, robot.id, cast.demo, "annotator")
        factories.make_key(session, robot.id, "annotate")
        session.execute(update(ApiKey).where(ApiKey.user_id == robot.id).values(made_by=cast.grace))
        robot_id = robot.id
    remove(as_user("owner"), cast)
    with read_session(engine) as session:
        assert session.scalars(select(ApiKey).where(ApiKey.user_id == robot_id)).one().revoked_at is not None


def test_what_they_made_elsewhere_stays(left: LeftBehind, as_user: AsUser, app: FastAPI, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, cast.other, "admin")
        elsewhere = invitations.invite(session, cast.other, "annotator", cast.grace)[0]
    remove(as_user("owner"), cast)
    assert TestClient(app, base_url="http://localhost").get(f"/invitations/{elsewhere}").status_code == 200


def test_a_member_whose_role_grows_loses_nothing(as_user: AsUser, app: FastAPI, cast: Cast) -> None:
    mary = as_user("Mary")
    own = re.search(r"tm_\d+_[\w-]{43}", mary.post("/account/keys", data={"scopes": "annotate"}).text)
    assert own is not None
    as_user("owner").post(f"/projects/demo/people/{cast.mary}/role", data={"role": "reviewer"})
    assert LeftBehind("", "", "", "", "").works(app, own[0])


def test_who_was_put_out_while_their_form_was_on_its_way_opens_nothing(engine: Engine, cast: Cast) -> None:
    """The gate saw an admin; by the time of the transaction they are none."""
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, cast.other, "annotator")
        with pytest.raises(NotAllowed):
            invitations.invite(session, cast.other, "admin", cast.grace)


# A changed password


def change_password(browser: TestClient, **form: str) -> None:
    reply = browser.post("/account/password", data={"current": PASSWORD, "password": "another long sentence", **form})
    assert reply.status_code == 303, reply.text


def test_a_changed_password_ends_keys_keys_of_keys_and_open_invitations(left: LeftBehind, as_user: AsUser, app: FastAPI) -> None:
    grace = as_user("Grace")
    assert "API keys you made: 4. Your open invitations: 1." in grace.get("/account").text

    change_password(grace)

    assert not any(left.works(app, key) for key in (left.own, left.program, left.child, left.grandchild))
    assert not left.opens(app)


def test_a_person_may_keep_them_when_nobody_else_knew_the_password(left: LeftBehind, as_user: AsUser, app: FastAPI) -> None:
    change_password(as_user("Grace"), keep="on")
    assert all(left.works(app, key) for key in (left.own, left.program, left.child, left.grandchild))
    assert left.opens(app)


def test_a_password_link_asks_the_same(left: LeftBehind, as_user: AsUser, app: FastAPI, visitor: TestClient, cast: Cast) -> None:
    page = as_user("owner").post(f"/projects/demo/people/{cast.grace}/password-link").text
    link = re.search(r"/password/[\w-]{43}", page)
    assert link is not None
    form = visitor.get(link[0]).text
    assert "API keys you made: 4." in form
    token = re.search(r'name="csrf_token" value="(\w+)"', form)
    assert token is not None
    reply = visitor.post(link[0], data={"csrf_token": token[1], "password": "another long sentence"})
    assert reply.status_code == 303
    assert not left.works(app, left.own)
    assert not left.opens(app)


def test_the_owners_recovery_ends_whatever_the_lost_account_had_opened(
    visitor: TestClient, app: FastAPI, engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        own = factories.make_key(session, cast.ada, "admin")
        invitation = invitations.invite(session, cast.demo, "admin", cast.ada)[0]
        token = invitations.owner_link(session)
    minted = key_maker(app)(own, cast.grace)
    found = re.search(r'name="csrf_token" value="(\w+)"', visitor.get(f"/invitations/{token}").text)
    assert found is not None
    form = {"csrf_token": found[1], "name": "", "email": "ada@example.org", "password": PASSWORD}
    assert visitor.post(f"/invitations/{token}", data=form).status_code == 303

    left = LeftBehind(program=minted, child="", grandchild="", own=own, invitation=invitation)
    assert not left.works(app, own)
    assert not left.works(app, minted)
    assert not left.opens(app)


def test_what_ended_is_in_the_audit_trail(left: LeftBehind, as_user: AsUser, engine: Engine, cast: Cast) -> None:
    remove(as_user("owner"), cast)
    with read_session(engine) as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "keys.ended").order_by(AuditEntry.id)).all()
        ended = set(session.scalars(select(ApiKey.id).where(ApiKey.revoked_at.is_not(None))))
        withdrawn = session.scalars(select(AuditEntry).where(AuditEntry.action == "invitation.withdrawn")).all()
    assert {name for entry in entries for name in entry.details["keys"]} == {f"tm_{key_id}" for key_id in ended}
    assert {(entry.actor_id, entry.subject) for entry in entries} == {(cast.ada, f"user {cast.grace}")}
    assert [entry.project_id for entry in withdrawn] == [cast.demo]


# Deactivation


def test_deactivation_is_one_action_after_which_nothing_lets_them_in(
    left: LeftBehind, as_user: AsUser, app: FastAPI, engine: Engine, cast: Cast
) -> None:
    grace = as_user("Grace")
    assert grace.get("/account").status_code == 200

    assert as_user("owner").post(f"/people/{cast.grace}/deactivation").status_code == 303

    assert grace.get("/account").status_code == 303
    assert not any(left.works(app, key) for key in (left.own, left.program, left.child, left.grandchild))
    assert not left.opens(app)
    with read_session(engine) as session:
        sessions = select(SignInSession).where(SignInSession.user_id == cast.grace, SignInSession.revoked_at.is_(None))
        assert session.scalars(sessions).all() == []
