"""Signing in and out, passwords, sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, func, select, update
from starlette.testclient import TestClient

from app.accounts import invitations, service
from app.database import engine as db
from app.database.engine import read_session, write_session
from app.main import create_app
from app.models import AuditEntry, SignInSession, User, utc_now
from app.settings import Settings
from app.web.security import digest, hash_password
from tests.app.conftest import Cast, another_process_writes

PASSWORD = "a sentence to remember"


@pytest.fixture
def mary(engine: Engine, cast: Cast) -> str:
    """Mary's address; she has a password."""
    with write_session(engine) as session:
        session.execute(update(User).where(User.id == cast.mary).values(password_hash=hash_password(PASSWORD)))
    return "mary@example.org"


def send(browser: TestClient, url: str, **form: str) -> object:
    """Fill in the page's form and send it."""
    token = re.search(r'name="csrf_token" value="(\w+)"', browser.get(url).text)
    assert token is not None
    return browser.post(url, data={"csrf_token": token[1], **form})


def sign_in(browser: TestClient, email: str, password: str = PASSWORD, **form: str):  # type: ignore[no-untyped-def]
    return send(browser, "/sign-in", email=email, password=password, **form)


def test_someone_who_knows_the_password_comes_in(visitor: TestClient, mary: str) -> None:
    reply = sign_in(visitor, " Mary@Example.org ", next="/account")

    assert reply.status_code == 303
    assert reply.headers["location"] == "/account"
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert visitor.get("/account").status_code == 200


def test_the_session_id_is_kept_as_a_hash_only(visitor: TestClient, mary: str, engine: Engine) -> None:
    sign_in(visitor, mary)
    with read_session(engine) as session:
        stored = session.scalars(select(SignInSession.id_hash)).all()
    assert stored == [digest(visitor.cookies["tastemaker"])]


@pytest.mark.parametrize(("email", "password"), [("mary@example.org", "wrong"), ("nobody@example.org", PASSWORD), ("", "")])
def test_whatever_was_wrong_the_words_are_the_same(visitor: TestClient, mary: str, email: str, password: str) -> None:
    reply = sign_in(visitor, email, password)
    assert reply.status_code == 422
    assert "That email and password do not belong together" in reply.text
    assert visitor.get("/account").status_code == 303


def test_a_disabled_person_stays_out(visitor: TestClient, mary: str, engine: Engine) -> None:
    with write_session(engine) as session:
        session.execute(update(User).values(disabled_at=utc_now()))
    assert sign_in(visitor, mary).status_code == 422


ELSEWHERE = [
    *("https://attacker.example/", "http:attacker.example", "javascript:alert(1)", "data:text/html,x", "attacker.example", ""),
    *("//attacker.example", "///attacker.example", "/\\attacker.example", "\\\\attacker.example", "\\/attacker.example"),
    *(
        " //attacker.example",
        "/\t/attacker.example",
        "/\n/attacker.example",
        "/\r\nSet-Cookie: a=b",
        "/\u202eelpmaxe",
        "/" + 500 * "a",
    ),
]


def test_signing_in_never_leads_to_another_site(visitor: TestClient, mary: str) -> None:
    for target in ELSEWHERE:
        visitor.cookies.clear()
        assert 'name="next" value="/"' in visitor.get("/sign-in", params={"next": target}).text, target
        assert sign_in(visitor, mary, next=target).headers["location"] == "/", target


def test_whoever_is_asked_to_sign_in_comes_back_to_where_they_were(visitor: TestClient, mary: str) -> None:
    here = "/projects/demo/annotate?task=7"
    asked = visitor.get(here)
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?next=/projects/demo/annotate%3Ftask%3D7")
    assert f'value="{here}"' in visitor.get(asked.headers["location"]).text
    assert sign_in(visitor, mary, next=here).headers["location"] == here


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://localhost/projects/demo/annotate?task=7", "/projects/demo/annotate%3Ftask%3D7"),
        ("http://attacker.example/projects/demo", "/"),
        ("", "/"),
    ],
)
def test_a_form_sent_after_the_session_was_over_leads_back_to_its_page(visitor: TestClient, referer: str, back: str) -> None:
    reply = visitor.post("/tasks/7/label", data={"choice": "left"}, headers={"referer": referer})
    assert reply.status_code == 401
    assert f'href="/sign-in?next={back}"' in reply.text
    assert "Nothing of what you sent was saved." in reply.text


def test_signing_in_gives_a_fresh_session_and_ends_the_one_before(visitor: TestClient, mary: str, engine: Engine) -> None:
    sign_in(visitor, mary)
    before = visitor.cookies["tastemaker"]
    visitor.cookies.delete("tastemaker")
    visitor.cookies.set("tastemaker", before)
    with write_session(engine) as session:  # so that the sign-in page is shown again
        session.execute(update(SignInSession).values(expires_at=utc_now() - timedelta(days=1)))
    sign_in(visitor, mary)
    with read_session(engine) as session:
        revoked = session.scalar(select(SignInSession.revoked_at).where(SignInSession.id_hash == digest(before)))
    assert revoked is not None


def test_of_a_persons_sessions_the_latest_are_kept_and_nobody_elses_goes(
    visitor: TestClient,
    mary: str,
    engine: Engine,
    cast: Cast,
    as_user: Callable[[str], TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MOST_SESSIONS", 3)
    alan = as_user("Alan")
    for _ in range(5):
        visitor.cookies.clear()
        sign_in(visitor, mary)
    with read_session(engine) as session:
        kept = session.scalars(select(SignInSession.id_hash).where(SignInSession.user_id == cast.mary)).all()
    assert len(kept) == 3
    assert digest(visitor.cookies["tastemaker"]) in kept
    assert alan.get("/account").status_code == 200


def test_who_knows_the_password_alone_ends_nobodys_session(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_SESSIONS", 3)
    alan = as_user("Alan")
    for _ in range(30):
        with write_session(engine) as session:
            service.open_half(session, cast.alan)
    assert alan.get("/account").status_code == 200
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).where(SignInSession.user_id == cast.alan)) == service.MOST_HALF + 1


def test_sessions_that_ended_go_before_those_that_let_somebody_in(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_SESSIONS", 3)
    alan = as_user("Alan")
    for _ in range(5):
        with write_session(engine) as session:
            secret = service.open_session(session, cast.alan, "a browser").secret
            service.close_session(session, cast.alan, digest(secret))
    assert alan.get("/account").status_code == 200


def test_of_sessions_those_used_last_are_kept_and_expired_ones_go_first(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_SESSIONS", 3)
    now = utc_now()
    used_before = {"oldest": 50, "latest of the first": 1, "expired": 0, "second": 20, "third": 10}  # minutes
    with write_session(engine) as session:
        for name, minutes in used_before.items():
            hours = -1 if name == "expired" else 1
            times = {"last_seen_at": now - timedelta(minutes=minutes), "expires_at": now + timedelta(hours=hours)}
            session.add(SignInSession(id_hash=name, user_id=cast.mary, user_agent="", **times))
    with write_session(engine) as session:
        latest = digest(service.open_session(session, cast.mary, "a browser").secret)
    with read_session(engine) as session:
        kept = set(session.scalars(select(SignInSession.id_hash).where(SignInSession.user_id == cast.mary)))
    assert kept == {latest, "latest of the first", "third"}


def test_signing_out_ends_the_session_for_whoever_holds_its_cookie(as_user: Callable[[str], TestClient]) -> None:
    mary = as_user("Mary")
    assert mary.get("/account").status_code == 200
    cookies = dict(mary.cookies)

    assert mary.post("/sign-out").headers["location"] == "/sign-in"

    for name, value in cookies.items():
        mary.cookies.set(name, value)
    assert mary.get("/account").status_code == 303


def test_changing_the_password_signs_every_other_browser_out(
    visitor: TestClient, app: FastAPI, mary: str, as_user: Callable[[str], TestClient]
) -> None:
    elsewhere = as_user("Mary")
    sign_in(visitor, mary)
    token = re.search(r'name="csrf-token" content="(\w+)"', visitor.get("/account").text)
    assert token is not None

    reply = visitor.post("/account/password", data={"csrf_token": token[1], "current": PASSWORD, "password": "another sentence"})

    assert reply.status_code == 303
    assert visitor.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303
    fresh = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert sign_in(fresh, mary).status_code == 422
    assert sign_in(fresh, mary, "another sentence").status_code == 303


def test_a_password_is_not_changed_by_someone_who_does_not_know_it(mary: str, as_user: Callable[[str], TestClient]) -> None:
    reply = as_user("Mary").post("/account/password", data={"current": "wrong", "password": "another sentence"})
    assert reply.status_code == 422
    assert "Not your current password" in reply.text


def test_one_browser_signs_another_one_out(as_user: Callable[[str], TestClient]) -> None:
    here, there = as_user("Mary"), as_user("Mary")
    here.post("/account/sessions/revocation", data={"session": digest(there.cookies["tastemaker"])})
    assert there.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


def test_nobody_signs_somebody_else_out(as_user: Callable[[str], TestClient]) -> None:
    mary, grace = as_user("Mary"), as_user("Grace")
    mary.post("/account/sessions/revocation", data={"session": digest(grace.cookies["tastemaker"])})
    mary.post("/account/sessions/revocation", data={"session": ""})
    assert grace.get("/account").status_code == 200


def test_guessing_is_slowed_down(app: FastAPI, visitor: TestClient, mary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.state.doorman._throttle, "_clock", lambda: 0.0)  # a busy machine may take longer than the wait
    for _ in range(5):
        assert sign_in(visitor, mary, "wrong").status_code == 422
    reply = sign_in(visitor, mary)
    assert reply.status_code == 429
    assert "Please wait" in reply.text


def test_on_tls_cookies_are_secure_and_bound_to_the_host(settings: Settings) -> None:
    app = create_app(
        settings.model_copy(update={"public_url": "https://taste.example.org", "allowed_hosts": ["taste.example.org"]})
    )
    with write_session(app.state.engine) as session:
        token = invitations.owner_link(session)
    browser = TestClient(app, base_url="https://taste.example.org", follow_redirects=False)

    reply = send(browser, f"/invitations/{token}", name="Ada", email="ada@example.org", password=PASSWORD)

    cookies = reply.headers.get_list("set-cookie")  # type: ignore[attr-defined]
    mine = next(cookie for cookie in cookies if cookie.startswith("__Host-tastemaker="))
    assert "Secure" in mine
    assert "Path=/" in mine
    assert "Domain" not in mine
    assert reply.headers["strict-transport-security"].startswith("max-age=")  # type: ignore[attr-defined]
    app.state.engine.dispose()


def test_the_last_use_of_a_session_is_noted_beside_the_request(app: FastAPI, engine: Engine, client: TestClient) -> None:
    long_ago = utc_now() - timedelta(hours=1)
    with write_session(engine) as session:
        session.execute(update(SignInSession).values(last_seen_at=long_ago))
    client.get("/account")
    app.state.uses.finish()
    with read_session(engine) as session:
        assert utc_now() - session.scalars(select(SignInSession.last_seen_at)).one() < timedelta(minutes=1)


def test_a_use_that_cannot_be_noted_is_logged_and_the_next_one_is_noted(
    app: FastAPI, engine: Engine, client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    long_ago = utc_now() - timedelta(hours=1)
    with write_session(engine) as session:
        session.execute(update(SignInSession).values(last_seen_at=long_ago))
    monkeypatch.setattr(db, "WRITER_PATIENCE_S", 0.1)
    with another_process_writes(engine):
        assert client.get("/account").status_code == 200
        app.state.uses.finish()
    assert "last uses were not noted" in caplog.text
    client.get("/account")
    app.state.uses.finish()
    with read_session(engine) as session:
        assert session.scalars(select(SignInSession.last_seen_at)).one() > long_ago


def test_signing_in_is_in_the_audit_trail(visitor: TestClient, mary: str, engine: Engine, cast: Cast) -> None:
    sign_in(visitor, mary)
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "session.opened")).one()
    assert entry.actor_id == cast.mary
