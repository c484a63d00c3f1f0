"""Who is slowed down by whose guesses; what comes before a hash; what is noted of failures."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event, func, select, update
from starlette.testclient import TestClient

from app.accounts import invitations
from app.accounts.sign_in import doorman as doorman_module
from app.accounts.sign_in import failures
from app.accounts.sign_in.doorman import Visitor
from app.accounts.sign_in.hashing import Hashing
from app.database.engine import read_session, write_session
from app.errors import Refusal, Unavailable
from app.models import AuditEntry, SignInSession, User
from app.serve import configured
from app.settings import Settings
from app.web import security
from tests.app import factories
from tests.app.conftest import Cast, another_process_writes

PASSWORD = "a sentence to remember"


@pytest.fixture(autouse=True)
def ada(app: FastAPI, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ada's address; the owner has a password. Checking one is quick here, and no time passes for the throttle."""
    monkeypatch.setattr(app.state.doorman._throttle, "_clock", lambda: 0.0)
    monkeypatch.setattr(doorman_module, "password_matches", lambda given, stored: stored is not None and given == stored)
    with write_session(engine) as session:
        session.execute(update(User).where(User.id == cast.ada).values(password_hash=PASSWORD))
    return "ada@example.org"


def browser(app: FastAPI, address: str) -> TestClient:
    return TestClient(app, base_url="http://localhost", follow_redirects=False, client=(address, 50000))


def sign_in(client: TestClient, email: str, password: str = PASSWORD) -> int:
    token = re.search(r'name="csrf_token" value="(\w+)"', client.get("/sign-in").text)
    assert token is not None
    return client.post("/sign-in", data={"csrf_token": token[1], "email": email, "password": password}).status_code


def guess(client: TestClient, email: str, times: int) -> list[int]:
    return [sign_in(client, email, f"wrong {number}") for number in range(times)]


def knock(app: FastAPI, email: str, password: str, visitor: Visitor) -> str:
    """ "in", or the name of what refused the try."""
    try:
        asyncio.run(app.state.doorman.check(email, password, visitor))
    except Refusal as refusal:
        return type(refusal).__name__
    return "in"


def test_a_stranger_who_guesses_locks_the_owner_out_of_no_browser(app: FastAPI, ada: str) -> None:
    stranger = browser(app, "203.0.113.9")
    assert guess(stranger, ada, 20)[-1] == 429
    assert sign_in(browser(app, "198.51.100.7"), ada) == 303, "a new browser at another address"


def test_a_browser_that_was_signed_in_is_not_slowed_by_strangers_at_its_address(app: FastAPI, ada: str) -> None:
    """An office has one address."""
    mine = browser(app, "203.0.113.9")
    assert sign_in(mine, ada) == 303
    mine.cookies.delete("tastemaker")
    for name in ("x", "y", "z", "w", "v", "u", "t"):
        guess(browser(app, "203.0.113.9"), f"{name}@example.org", 5)
    guess(browser(app, "203.0.113.9"), ada, 6)
    assert sign_in(browser(app, "203.0.113.9"), ada) == 429, "the address has used up what strangers there have"
    assert sign_in(mine, ada) == 303


def test_a_known_browser_guesses_no_more_than_another(app: FastAPI, ada: str) -> None:
    mine = browser(app, "203.0.113.9")
    assert sign_in(mine, ada) == 303
    mine.cookies.delete("tastemaker")
    assert guess(mine, ada, 6) == [422] * 5 + [429]


def test_a_cookie_that_nobody_signed_in_with_makes_no_browser_known(app: FastAPI, engine: Engine, ada: str) -> None:
    mine = browser(app, "203.0.113.9")
    mine.cookies.set("tastemaker_device", "planted")
    sign_in(mine, ada)
    with read_session(engine) as session:
        hashes = session.scalars(select(SignInSession.device_hash)).all()
    assert security.digest("planted") not in hashes
    assert len(hashes) == 1
    assert hashes != [None]


def test_a_browser_stays_known_for_the_people_who_share_it(app: FastAPI, engine: Engine, cast: Cast, ada: str) -> None:
    with write_session(engine) as session:
        session.execute(update(User).where(User.id == cast.mary).values(password_hash=PASSWORD))
    shared = browser(app, "203.0.113.9")
    for email in (ada, "mary@example.org"):
        shared.cookies.delete("tastemaker")
        assert sign_in(shared, email) == 303
    with read_session(engine) as session:
        assert session.scalar(select(func.count(SignInSession.device_hash.distinct()))) == 1


def test_from_one_address_all_accounts_together_have_an_end(app: FastAPI, ada: str) -> None:
    stranger = browser(app, "203.0.113.9")
    said = [sign_in(stranger, f"somebody{number}@example.org", "wrong") for number in range(31)]
    assert said == [422] * 30 + [429]


def test_from_all_addresses_together_strangers_have_an_end_at_one_account(app: FastAPI, ada: str) -> None:
    def stranger(number: int) -> str:
        return knock(app, ada, "wrong", Visitor(f"203.0.{number // 250}.{number % 250}", ""))

    assert [stranger(number) for number in range(101)] == ["Invalid"] * 100 + ["TooMany"]


def test_a_browser_is_known_to_its_own_people_only(app: FastAPI, engine: Engine, cast: Cast, ada: str) -> None:
    with write_session(engine) as session:
        factories.make_sign_in(session, cast.mary, device="Mary's browser")
    assert [knock(app, ada, "wrong", Visitor("203.0.113.9", "")) for _ in range(5)] == ["Invalid"] * 5
    assert knock(app, ada, "wrong", Visitor("203.0.113.9", "Mary's browser")) == "TooMany"


def test_a_try_that_was_never_made_is_not_counted(app: FastAPI, ada: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.state.doorman._hashing, "_places", 0)
    here = Visitor("203.0.113.9", "")
    assert [knock(app, ada, PASSWORD, here) for _ in range(6)] == ["Unavailable"] * 6
    monkeypatch.setattr(app.state.doorman._hashing, "_places", 1)
    assert knock(app, ada, PASSWORD, here) == "in"


def test_success_is_no_try_of_the_address_and_forgets_the_failures_before_it(app: FastAPI, ada: str) -> None:
    here = Visitor("203.0.113.9", "")
    assert [knock(app, ada, PASSWORD, here) for _ in range(40)] == ["in"] * 40
    twice = [knock(app, ada, word, here) for word in ("wrong", "wrong", "wrong", PASSWORD) * 2]
    assert twice == ["Invalid", "Invalid", "Invalid", "in"] * 2


def test_the_addresses_of_one_household_are_one() -> None:
    assert Visitor("2001:db8:1:2:3:4:5:6", "").network == Visitor("2001:db8:1:2:ffff::1", "").network == "2001:db8:1:2::/64"
    assert Visitor("203.0.113.9", "").network == "203.0.113.9"


def test_many_tries_at_once_are_counted_each(app: FastAPI, ada: str) -> None:
    async def all_at_once() -> list[str]:
        tries = [app.state.doorman.check(ada, f"wrong {number}", Visitor("203.0.113.9", "")) for number in range(20)]
        return sorted(type(outcome).__name__ for outcome in await asyncio.gather(*tries, return_exceptions=True))

    assert asyncio.run(all_at_once()) == ["Invalid"] * 5 + ["TooMany"] * 15


# The client's address


@pytest.mark.parametrize(
    ("trusted", "peer", "seen"),
    [
        (["127.0.0.1"], "127.0.0.1", "203.0.113.9"),
        (["127.0.0.1"], "198.51.100.7", "198.51.100.7"),
        (["10.0.0.0/8"], "10.1.2.3", "203.0.113.9"),
        ([], "127.0.0.1", "127.0.0.1"),
        (["*"], "198.51.100.7", "203.0.113.9"),  # whoever it is: a start warns of that
        (["0.0.0.0/0"], "198.51.100.7", "203.0.113.9"),
    ],
)
def test_a_forwarded_address_is_believed_only_from_a_named_proxy(
    app: FastAPI, settings: Settings, trusted: list[str], peer: str, seen: str
) -> None:
    config = configured(app, settings.model_copy(update={"trusted_proxies": trusted}))
    config.load()
    noted: list[str] = []
    app.state.failures.note = lambda user_id, address, what="password": noted.append(address)
    client = TestClient(config.loaded_app, base_url="http://localhost", client=(peer, 50000))
    client.headers["x-forwarded-for"] = "203.0.113.9"
    assert sign_in(client, "ada@example.org", "wrong") == 422
    assert noted == [seen]


# Cheap before dear


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was handed to argon2."""
    handed: list[str] = []

    def hand(password: str, *stored: str) -> str:
        handed.append(password)
        return ""

    monkeypatch.setattr(security._hasher, "hash", hand)
    monkeypatch.setattr(security._hasher, "verify", hand)
    monkeypatch.setattr(doorman_module, "password_matches", security.password_matches)
    return handed


def post_form(client: TestClient, url: str, page: str, **form: str) -> int:
    token = re.search(r'name="csrf_token" value="(\w+)"', client.get(page).text)
    assert token is not None
    return client.post(url, data={"csrf_token": token[1], **form}).status_code


@pytest.mark.parametrize(
    "form", [{"email": "", "password": "x"}, {"email": "a@b", "password": ""}, {"email": "a@b", "password": "x" * 201}]
)
def test_a_form_that_cannot_be_right_is_not_hashed(app: FastAPI, hashed: list[str], form: dict[str, str]) -> None:
    assert post_form(browser(app, "203.0.113.9"), "/sign-in", "/sign-in", **form) == 422
    assert hashed == []


def test_what_the_throttle_refuses_is_not_hashed(app: FastAPI, ada: str, hashed: list[str]) -> None:
    guess(browser(app, "203.0.113.9"), ada, 9)
    assert len(hashed) == 5


@pytest.mark.parametrize("url", ["/invitations/false", "/password/false"])
def test_a_false_token_is_not_hashed(app: FastAPI, hashed: list[str], url: str) -> None:
    form = {"name": "Nina", "email": "nina@example.org", "password": PASSWORD}
    assert post_form(browser(app, "203.0.113.9"), url, "/sign-in", **form) == 410
    assert hashed == []


def test_a_true_invitation_hashes_for_no_address_that_is_taken_and_not_without_end(
    app: FastAPI, engine: Engine, cast: Cast, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        token = invitations.invite(session, cast.demo, "annotator", cast.ada)[0]
    client, url = browser(app, "203.0.113.9"), f"/invitations/{token}"
    form = {"name": "Nina", "password": PASSWORD}
    assert post_form(client, url, url, email="mary@example.org", **form) == 409
    assert hashed == []
    weak = [post_form(client, url, url, name="Nina", email="nina@example.org", password="1234567890") for _ in range(21)]
    assert weak == [422] * 20 + [429]


def test_those_who_wait_for_a_hash_hold_no_thread_and_have_an_end() -> None:
    async def crowd() -> tuple[int, float]:
        hashing = Hashing(at_once=1, most_waiting=2)
        waiting = [asyncio.ensure_future(hashing.run(time.sleep, 0.2)) for _ in range(5)]
        await asyncio.sleep(0)
        began = time.monotonic()
        await asyncio.to_thread(int)
        quick_s = time.monotonic() - began
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert await hashing.run(int) == 0
        return sum(isinstance(one, Unavailable) for one in done), quick_s

    refused, quick_s = asyncio.run(crowd())
    assert refused == 2
    assert quick_s < 0.15


# Nobody waits for strangers


def test_whoever_is_not_signed_in_takes_no_write_lock(app: FastAPI, engine: Engine, cast: Cast, ada: str) -> None:
    client = browser(app, "203.0.113.9")
    with another_process_writes(engine):
        began = time.monotonic()
        assert sign_in(client, ada, "wrong") == 422
        assert post_form(client, "/language", "/sign-in", language="zh-Hant") == 303
        assert post_form(client, "/invitations/false", "/sign-in", name="x", email="x@example.org", password=PASSWORD) == 410
        assert post_form(client, "/password/false", "/sign-in", password=PASSWORD) == 410
        assert time.monotonic() - began < 3


def test_health_begins_one_write_however_often_it_is_asked(app: FastAPI, engine: Engine, visitor: TestClient) -> None:
    began: list[str] = []

    def count(connection, cursor, statement, *more):  # type: ignore[no-untyped-def]
        began.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    assert {visitor.get("/api/v1/health").status_code for _ in range(20)} == {200}
    event.remove(engine, "before_cursor_execute", count)
    assert sum("workers" in statement for statement in began) == 1


# What is noted


def test_so_many_failures_wait_to_be_written_and_no_more(
    app: FastAPI, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_KEPT", 2)
    with write_session(engine):  # the first one waits for its turn to be written, having been taken out
        app.state.failures.note(cast.ada, "203.0.113.1")
        while app.state.failures._failures:
            time.sleep(0.01)
        for number in range(2, 9):
            app.state.failures.note(cast.ada, f"203.0.113.{number}")
        app.state.failures.note(cast.ada, "203.0.113.2")
    app.state.failures.finish()
    with read_session(engine) as session:
        noted = session.scalars(select(AuditEntry.details).where(AuditEntry.action == "sign_in.failed")).all()
    assert [entry["address"] for entry in noted] == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


def test_a_failed_sign_in_is_in_the_log_and_in_the_audit_trail(
    app: FastAPI, engine: Engine, cast: Cast, ada: str, caplog: pytest.LogCaptureFixture, as_user: Callable[[str], TestClient]
) -> None:
    sign_in(browser(app, "203.0.113.9"), ada, "my real password, nearly")
    sign_in(browser(app, "203.0.113.9"), "a password@example.org", "wrong")
    app.state.failures.finish()
    assert f"wrong password for user {cast.ada}, from '203.0.113.9'" in caplog.text
    assert "wrong password for no account of ours" in caplog.text
    assert "nearly" not in caplog.text
    assert "a password" not in caplog.text
    with read_session(engine) as session:
        (entry,) = session.scalars(select(AuditEntry).where(AuditEntry.action == "sign_in.failed"))
    assert (entry.actor_id, entry.subject) == (None, f"user {cast.ada}")
    assert entry.details == {"wrong": "password", "address": "203.0.113.9"}
    assert "failed to sign in" in as_user("owner").get("/audit").text
