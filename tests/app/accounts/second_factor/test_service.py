"""The second factor: setting it up, signing in with it, losing the device, and admins who need it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from pyotp import TOTP
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.accounts import invitations
from app.accounts.second_factor import service
from app.accounts.second_factor.service import STEP_S, Match
from app.accounts.sign_in import doorman as doorman_module
from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.models import AuditEntry, RecoveryCode, SecondFactor, User
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]
PASSWORD = "a sentence to remember"


@pytest.fixture(autouse=True)
def _passwords(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody has one, and checking it is quick here."""
    monkeypatch.setattr(doorman_module, "password_matches", lambda given, stored: stored is not None and given == stored)
    with write_session(engine) as session:
        session.execute(update(User).values(password_hash=PASSWORD))


def turn_on(engine: Engine, user_id: int) -> tuple[str, list[str]]:
    """Its secret and recovery codes. No code of this moment is used up."""
    with write_session(engine) as session:
        secret = service.begin(session, user_id)
        codes = service.confirm(session, user_id, Match(step=int(time.time()) // STEP_S - 5))
    return secret, codes


def browser(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def send(client: TestClient, page: str, url: str = "", **form: str):  # type: ignore[no-untyped-def]
    token = re.search(r'name="csrf_token" value="(\w+)"', client.get(page).text)
    assert token is not None
    return client.post(url or page, data={"csrf_token": token[1], **form})


def sign_in(client: TestClient, email: str = "mary@example.org", next: str = "/account"):  # type: ignore[no-untyped-def]
    return send(client, "/sign-in", email=email, password=PASSWORD, next=next)


def test_a_person_sets_it_up_with_their_app(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    mary = as_user("Mary")
    assert mary.post("/account/second-factor", data={"current": "wrong"}).status_code == 422
    page = mary.post("/account/second-factor", data={"current": PASSWORD})
    assert page.status_code == 201
    assert "<svg" in page.text
    shown = re.search(r'class="secret">([A-Z2-7 ]+)<', page.text)
    assert shown is not None
    secret = shown[1].replace(" ", "")

    again = mary.post("/account/second-factor/confirmation", data={"code": "000000"})
    assert again.status_code == 422
    assert shown[1] in again.text, "the same secret once more"
    with read_session(engine) as session:
        assert not service.is_on(session, cast.mary)

    done = mary.post("/account/second-factor/confirmation", data={"code": TOTP(secret).now()})
    codes = re.findall(r"<code>([a-z2-7]{4}(?:-[a-z2-7]{4}){3})</code>", done.text)
    assert len(codes) == 10
    assert "not shown again" in done.text
    with read_session(engine) as session:
        assert service.is_on(session, cast.mary)
        assert not {code.replace("-", "") for code in codes} & set(session.scalars(select(RecoveryCode.code_hash)))
    assert codes[0] not in mary.get("/account/second-factor").text
    assert secret not in mary.get("/account/second-factor").text


def test_the_password_alone_lets_nobody_in(app: FastAPI, engine: Engine, cast: Cast) -> None:
    secret, _codes = turn_on(engine, cast.mary)
    client = browser(app)

    reply = sign_in(client)

    assert reply.headers["location"] == "/sign-in/code?next=/account"
    assert client.get("/account").status_code == 303
    assert client.get("/api/v1/users/me").status_code == 401
    assert send(client, "/sign-in/code", code="000000").status_code == 422
    assert client.get("/account").status_code == 303
    reply = send(client, "/sign-in/code", code=TOTP(secret).now(), next="/account")
    assert (reply.status_code, reply.headers["location"]) == (303, "/account")
    assert client.get("/account").status_code == 200


def test_a_code_works_once(app: FastAPI, engine: Engine, cast: Cast) -> None:
    secret, _codes = turn_on(engine, cast.mary)
    code = TOTP(secret).now()
    first, second = browser(app), browser(app)
    for client in (first, second):
        sign_in(client)
    assert send(first, "/sign-in/code", code=code).status_code == 303
    assert send(second, "/sign-in/code", code=code).status_code == 422
    with read_session(engine) as session:
        assert service.find(session, cast.mary, code) is None, "who sends it again is counted like any who guess"


def test_of_two_who_send_one_code_at_once_one_gets_in(engine: Engine, cast: Cast) -> None:
    secret, codes = turn_on(engine, cast.mary)
    for code in (TOTP(secret).now(), codes[0]):
        with read_session(engine) as session:
            match = service.find(session, cast.mary, code)
        assert match is not None
        outcomes: list[str] = []
        threads = [threading.Thread(target=use, args=(engine, cast.mary, match, outcomes)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["in", "out", "out", "out"]


def use(engine: Engine, user_id: int, match: Match, outcomes: list[str]) -> None:
    try:
        with write_session(engine) as session:
            service.use(session, user_id, match)
        outcomes.append("in")
    except Invalid:
        outcomes.append("out")


def test_a_clock_may_be_half_a_minute_off_and_no_more(engine: Engine, cast: Cast) -> None:
    secret, _codes = turn_on(engine, cast.mary)
    now = int(time.time())
    with read_session(engine) as session:
        found = {off: service.find(session, cast.mary, TOTP(secret).at(now + off * STEP_S)) for off in (-2, -1, 0, 1, 2)}
    assert {off for off, match in found.items() if match} == {-1, 0, 1}


def test_a_recovery_code_lets_in_once_however_it_is_typed(app: FastAPI, engine: Engine, cast: Cast) -> None:
    _secret, codes = turn_on(engine, cast.mary)
    client = browser(app)
    sign_in(client)
    assert send(client, "/sign-in/code", code=" " + codes[3].upper().replace("-", " ")).status_code == 303
    other = browser(app)
    sign_in(other)
    assert send(other, "/sign-in/code", code=codes[3]).status_code == 422
    with read_session(engine) as session:
        assert service.state_of(session, cast.mary).codes_left == 9
        assert service.find(session, cast.mary, codes[3]) is None
        assert "recovery_code.used" in session.scalars(select(AuditEntry.action)).all()


def test_guessing_codes_is_slowed_down_and_noted(
    app: FastAPI, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state.doorman._throttle, "_clock", lambda: 0.0)
    secret, _codes = turn_on(engine, cast.mary)
    client = browser(app)
    sign_in(client)
    said = [send(client, "/sign-in/code", code=f"{number:06}").status_code for number in range(5)]
    assert said == [422] * 5
    assert send(client, "/sign-in/code", code=TOTP(secret).now()).status_code == 429
    app.state.failures.finish()
    with read_session(engine) as session:
        noted = session.scalars(select(AuditEntry).where(AuditEntry.action == "sign_in.failed")).all()
    assert {entry.details["wrong"] for entry in noted} == {"code"}


def test_who_took_too_long_gives_the_password_again(app: FastAPI, visitor: TestClient) -> None:
    assert visitor.get("/sign-in/code?next=/account").headers["location"] == "/sign-in?next=/account"
    assert send(visitor, "/sign-in", "/sign-in/code", code="123456").headers["location"] == "/sign-in"


def test_a_password_link_asks_for_the_code_too(as_user: AsUser, app: FastAPI, engine: Engine, cast: Cast) -> None:
    """An admin who makes one becomes nobody by it."""
    turn_on(engine, cast.mary)
    page = as_user("Grace").post(f"/projects/demo/people/{cast.mary}/password-link").text
    link = re.search(r"/password/[\w-]{43}", page)
    assert link is not None
    client = browser(app)
    reply = send(client, link[0], password="another long sentence")
    assert reply.headers["location"].startswith("/sign-in/code")
    assert client.get("/account").status_code == 303


def test_the_owners_recovery_at_the_machine_turns_it_off(app: FastAPI, engine: Engine, cast: Cast) -> None:
    turn_on(engine, cast.ada)
    with write_session(engine) as session:
        token = invitations.owner_link(session)
    client = browser(app)
    reply = send(client, f"/invitations/{token}", name="", email="ada@example.org", password=PASSWORD)
    assert reply.headers["location"] == "/"
    with read_session(engine) as session:
        assert not service.is_on(session, cast.ada)


def test_new_recovery_codes_end_the_old_ones_and_turning_off_takes_a_code(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    _secret, codes = turn_on(engine, cast.mary)
    mary = as_user("Mary")
    page = mary.post("/account/second-factor/codes", data={"code": codes[0]})
    fresh = re.findall(r"<code>([a-z2-7-]{19})</code>", page.text)
    assert len(fresh) == 10
    assert mary.post("/account/second-factor/removal", data={"code": codes[1]}).status_code == 422
    assert mary.post("/account/second-factor/removal", data={"code": fresh[0]}).status_code == 303
    with read_session(engine) as session:
        assert session.scalars(select(SecondFactor)).all() == []
        assert session.scalars(select(RecoveryCode)).all() == []


def test_a_factor_that_is_on_is_not_set_up_over(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    turn_on(engine, cast.mary)
    assert as_user("Mary").post("/account/second-factor", data={"current": PASSWORD}).status_code == 409


# Admins who need it


def test_an_admin_without_one_can_only_set_it_up(as_user: AsUser, api: Api, engine: Engine, cast: Cast) -> None:
    owner = as_user("owner")
    assert owner.post("/people/second-factor", data={"required": "on"}).status_code == 409, "first one's own"
    turn_on(engine, cast.ada)
    assert owner.post("/people/second-factor", data={"required": "on"}).status_code == 303
    assert "no second factor" in owner.get("/people").text

    grace = as_user("Grace")
    for page in ("/", "/account", "/projects/demo/people"):
        assert grace.get(page).headers["location"] == "/account/second-factor"
    assert grace.post("/projects/demo/invitations", data={"role": "admin"}).status_code == 403
    assert grace.get("/api/v1/projects/demo").status_code == 403
    shown = grace.get("/account/second-factor")
    assert shown.status_code == 200
    assert "asks every admin to have one" in shown.text
    assert api("admin", who="Grace").get("/api/v1/projects/demo").status_code == 200, "a program has no device"
    assert as_user("Mary").get("/account").status_code == 200, "annotators need none"

    turn_on(engine, cast.grace)
    assert grace.get("/projects/demo/people").status_code == 200
    assert owner.post("/people/second-factor", data={}).status_code == 303
    assert api("admin").get("/api/v1/installation").json() == {"admins_need_second_factor": False}


def test_an_owner_helps_somebody_who_lost_their_device(as_user: AsUser, api: Api, engine: Engine, cast: Cast) -> None:
    turn_on(engine, cast.mary)
    turn_on(engine, cast.alan)
    assert as_user("Grace").post(f"/people/{cast.mary}/second-factor/removal").status_code == 403
    assert as_user("owner").post(f"/people/{cast.mary}/second-factor/removal").status_code == 303
    assert api("admin").delete(f"/api/v1/users/{cast.alan}/second-factor").status_code == 204
    with read_session(engine) as session:
        assert not service.is_on(session, cast.mary)
        assert not service.is_on(session, cast.alan)
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "second_factor.off")).all()
    assert {(entry.actor_id, entry.subject) for entry in entries} == {
        (cast.ada, f"user {cast.mary}"),
        (cast.ada, f"user {cast.alan}"),
    }
