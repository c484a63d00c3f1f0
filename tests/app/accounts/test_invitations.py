"""Invitations and the owner's first link."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, func, select, update
from starlette.testclient import TestClient

from app.accounts import invitations
from app.accounts.service import open_sessions
from app.database.engine import read_session, write_session
from app.errors import Conflict, Gone
from app.models import Invitation, Membership, User, utc_now
from app.web.security import digest
from tests.app import factories
from tests.app.conftest import Cast

PERSON = {"name": "Nina", "email": "nina@example.org", "password": "a sentence to remember"}


def invite(engine: Engine, cast: Cast, role: str = "annotator") -> str:
    with write_session(engine) as session:
        return invitations.invite(session, cast.demo, role, cast.grace)[0]  # type: ignore[arg-type]


def accept(browser: TestClient, token: str, **person: str):  # type: ignore[no-untyped-def]
    page = browser.get(f"/invitations/{token}")
    found = re.search(r'name="csrf_token" value="(\w+)"', page.text)
    assert found is not None, page.text
    return browser.post(f"/invitations/{token}", data={"csrf_token": found[1], **person})


def role_of(engine: Engine, email: str) -> str | None:
    with read_session(engine) as session:
        return session.scalar(select(Membership.role).join(User, User.id == Membership.user_id).where(User.email == email))


def test_an_invited_person_makes_an_account_and_is_in(visitor: TestClient, engine: Engine, cast: Cast) -> None:
    reply = accept(visitor, invite(engine, cast), **PERSON)

    assert reply.status_code == 303
    assert reply.headers["location"] == "/projects/demo/annotate"
    assert "Read the guidelines before you begin" in visitor.get("/account").text
    assert role_of(engine, "nina@example.org") == "annotator"


def test_the_role_is_the_one_in_the_invitation(visitor: TestClient, engine: Engine, cast: Cast) -> None:
    accept(visitor, invite(engine, cast, "reviewer"), **PERSON, role="admin", is_owner="true")
    assert role_of(engine, "nina@example.org") == "reviewer"
    with read_session(engine) as session:
        assert session.scalar(select(User.is_owner).where(User.email == "nina@example.org")) is False


def test_the_token_is_stored_nowhere(engine: Engine, cast: Cast) -> None:
    token = invite(engine, cast)
    with read_session(engine) as session:
        assert session.scalars(select(Invitation.token_hash)).all() == [digest(token)]


def test_an_invitation_works_once(visitor: TestClient, app: FastAPI, engine: Engine, cast: Cast) -> None:
    token = invite(engine, cast)
    accept(visitor, token, **PERSON)
    other = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert other.get(f"/invitations/{token}").status_code == 410


def test_of_two_who_use_it_at_once_one_gets_in(engine: Engine, cast: Cast) -> None:
    token = invite(engine, cast)
    outcomes: list[str] = []

    def use(name: str) -> None:
        try:
            with write_session(engine) as session:
                invitations.accept_as_new(session, token, name, f"{name}@example.org", "hash")
            outcomes.append("in")
        except Gone:
            outcomes.append("gone")

    threads = [threading.Thread(target=use, args=(name,)) for name in ("nina", "otto", "paul")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["gone", "gone", "in"]
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Membership.id)).where(Membership.role == "annotator")) == 2  # Mary and one more


@pytest.mark.parametrize(
    "change", [{"expires_at": utc_now() - timedelta(seconds=1)}, {"revoked_at": utc_now()}], ids=["late", "withdrawn"]
)
def test_an_invitation_that_has_ended_is_gone(visitor: TestClient, engine: Engine, cast: Cast, change: dict[str, object]) -> None:
    token = invite(engine, cast)
    with write_session(engine) as session:
        session.execute(update(Invitation).values(**change))
    assert visitor.get(f"/invitations/{token}").status_code == 410


def test_a_token_nobody_made_is_gone(visitor: TestClient, cast: Cast) -> None:
    assert visitor.get("/invitations/abc").status_code == 410


def test_a_taken_address_has_to_sign_in_first(visitor: TestClient, engine: Engine, cast: Cast) -> None:
    reply = accept(visitor, invite(engine, cast, "admin"), name="Not Mary", email="mary@example.org", password=PERSON["password"])
    assert reply.status_code == 409
    assert "Sign in with it" in reply.text
    assert role_of(engine, "mary@example.org") == "annotator"


def test_someone_signed_in_joins_as_they_are_and_loses_no_role(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast
) -> None:
    mary, grace = as_user("Mary"), as_user("Grace")
    assert mary.post(f"/invitations/{invite(engine, cast, 'reviewer')}").status_code == 303
    assert role_of(engine, "mary@example.org") == "reviewer"
    grace.post(f"/invitations/{invite(engine, cast, 'annotator')}")
    assert role_of(engine, "grace@example.org") == "admin"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("password", "short", "10 to 200 characters"), ("email", "nowhere", "not an email"), ("name", "  ", "called")],
)
def test_a_form_with_a_mistake_comes_back_filled_in(
    visitor: TestClient, engine: Engine, cast: Cast, field: str, value: str, words: str
) -> None:
    token = invite(engine, cast)
    reply = accept(visitor, token, **{**PERSON, field: value})
    assert reply.status_code == 422
    assert words in reply.text
    assert PERSON["password"] not in reply.text
    assert visitor.get(f"/invitations/{token}").status_code == 200


# From the people page


def test_an_admin_makes_a_link_that_is_shown_once(as_user: Callable[[str], TestClient], visitor: TestClient) -> None:
    grace = as_user("Grace")
    page = grace.post("/projects/demo/invitations", data={"role": "annotator"})
    link = re.search(r"http://localhost/invitations/([\w-]+)", page.text)
    assert page.status_code == 201
    assert link is not None
    assert link[1] not in grace.get("/projects/demo/people").text
    assert (
        grace.get("/projects/demo/invitations").headers["location"] == "/projects/demo"
    )  # as a browser asks that is opened again
    assert accept(visitor, link[1], **PERSON).status_code == 303


def test_a_link_that_opens_on_this_computer_only_says_so(as_user: Callable[[str], TestClient], app: FastAPI) -> None:
    grace = as_user("Grace")
    said = "It opens on this computer only."
    assert said in grace.post("/projects/demo/invitations", data={"role": "annotator"}).text
    app.state.settings = app.state.settings.model_copy(update={"public_url": "http://taste.example.org"})
    assert said not in grace.post("/projects/demo/invitations", data={"role": "annotator"}).text


def test_an_admin_withdraws_an_invitation(
    as_user: Callable[[str], TestClient], visitor: TestClient, engine: Engine, cast: Cast
) -> None:
    token = invite(engine, cast)
    with read_session(engine) as session:
        invitation_id = session.scalars(select(Invitation.id)).one()
    assert as_user("Grace").post(f"/projects/demo/invitations/{invitation_id}/revocation").status_code == 303
    assert visitor.get(f"/invitations/{token}").status_code == 410


def test_the_admin_of_another_project_withdraws_nothing(
    as_user: Callable[[str], TestClient], visitor: TestClient, engine: Engine, cast: Cast
) -> None:
    token = invite(engine, cast)
    assert as_user("Eve").post("/projects/other/invitations/1/revocation").status_code == 404
    assert visitor.get(f"/invitations/{token}").status_code == 200


# The owner's link


def test_the_first_link_makes_an_owner(visitor: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        assert not invitations.has_owner(session)
        token = invitations.owner_link(session)

    assert accept(visitor, token, **PERSON).headers["location"] == "/"

    with read_session(engine) as session:
        assert invitations.has_owner(session)
        assert session.scalars(select(User.is_owner)).all() == [True]


def test_a_new_owner_link_ends_the_ones_before(visitor: TestClient, engine: Engine) -> None:
    with write_session(engine) as session:
        first, second = invitations.owner_link(session), invitations.owner_link(session)
    assert visitor.get(f"/invitations/{first}").status_code == 410
    assert visitor.get(f"/invitations/{second}").status_code == 200


def test_the_owner_link_lets_a_locked_out_owner_back_in_and_everybody_else_out(
    visitor: TestClient, engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        token = invitations.owner_link(session)
        factories.make_sign_in(session, cast.ada)
    accept(visitor, token, name="", email="ada@example.org", password="a brand new sentence")
    with read_session(engine) as session:
        ada = session.get(User, cast.ada)
        assert ada is not None
        assert ada.password_hash is not None
        assert session.scalar(select(func.count(User.id))) == 5
        assert len(open_sessions(session, cast.ada)) == 1, "only the browser that used the link"
    assert visitor.get("/account").status_code == 200


def test_an_invitation_carries_a_name_and_is_listed_and_withdrawn_by_a_key(
    as_user: Callable[[str], TestClient], api: Callable[..., TestClient], visitor: TestClient
) -> None:
    page = as_user("Grace").post("/projects/demo/invitations", data={"role": "annotator", "name": " Nina  B. "}).text
    assert "Nina B." in page
    assert 'data-connect="copy"' in page
    grace, at = api("admin", who="Grace"), "/api/v1/projects/demo/invitations"
    made = grace.post(at, json={"role": "reviewer", "name": "Otto"}).json()
    assert [row["name"] for row in grace.get(at).json()["items"]] == ["Otto", "Nina B."]
    assert grace.delete(f"{at}/{made['id']}").status_code == 204
    assert [row["name"] for row in grace.get(at).json()["items"]] == ["Nina B."]
    assert visitor.get(made["path"]).status_code == 410
    assert grace.delete(f"{at}/{made['id']}").status_code == 404


def test_so_many_invitations_of_a_project_are_open_and_no_more(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    invite(engine, cast)
    used = invite(engine, cast)
    with pytest.raises(Conflict, match=r"2 invitations of this project are open, and that is the most\."):
        invite(engine, cast)
    grace = as_user("Grace")
    assert grace.post("/api/v1/projects/demo/invitations", json={"role": "annotator"}).status_code == 409
    accept(as_user("Eve"), used)
    at = "/api/v1/projects/demo/invitations"
    made = [grace.post(at, json={"role": "annotator"}) for _ in range(2)]
    assert [reply.status_code for reply in made] == [201, 409]
    assert grace.delete(f"{at}/{made[0].json()['id']}").status_code == 204
    assert grace.post(at, json={"role": "annotator"}).status_code == 201
    with write_session(engine) as session:
        session.execute(update(Invitation).values(expires_at=utc_now() - timedelta(days=1)))
    assert [grace.post(at, json={"role": "annotator"}).status_code for _ in range(3)] == [201, 201, 409]
    assert as_user("Eve").post("/api/v1/projects/other/invitations", json={"role": "annotator"}).status_code == 201
