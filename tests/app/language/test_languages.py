"""Which language a request is answered in, and how a sentence finds its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session
from app.database.group_commit import WriteGroup
from app.language import languages
from app.models import User
from tests.app.conftest import Cast

AsUser = Callable[[str], TestClient]


@pytest.fixture
def chinese() -> Iterator[None]:
    """The rest of this test reads Chinese."""
    languages.use("zh-Hant")
    yield
    languages.use(languages.SOURCE)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"),
        ("zh", "zh-Hant"),
        ("zh-CN,zh-Hans;q=0.9,en;q=0.1", "en"),
        ("de, en;q=0.3, zh-TW;q=0.7", "zh-Hant"),
        ("de;q=1", "en"),
        ("zh-TW;q=0", "en"),
        ("zh-TW;q=never, en", "en"),
        (";;;,=q;" * 400, "en"),
    ],
)
def test_a_visitor_reads_the_language_the_browser_asks_for(visitor: TestClient, header: str, language: str) -> None:
    page = visitor.get("/sign-in", headers={"accept-language": header}).text
    assert f'<html lang="{language}" dir="ltr">' in page


def test_the_cookie_is_stronger_than_the_browser_and_the_person_than_the_cookie(
    visitor: TestClient, as_user: AsUser, engine: Engine, cast: Cast
) -> None:
    asking = {"accept-language": "zh-TW"}
    visitor.cookies.set(languages.COOKIE, "en")
    assert '<html lang="en"' in visitor.get("/sign-in", headers=asking).text
    mary = as_user("Mary")
    mary.cookies.set(languages.COOKIE, "en")
    reply = mary.post("/language", params={"next": "/account?x=1"}, data={"language": "zh-Hant"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/account?x=1")
    again = as_user("Mary")
    again.cookies.set(languages.COOKIE, "en")
    assert '<html lang="zh-Hant"' in again.get("/account").text
    with read_session(engine) as session:
        assert session.get_one(User, cast.mary).language == "zh-Hant"


def test_a_visitor_switches_and_the_browser_remembers(visitor: TestClient) -> None:
    page = visitor.get("/sign-in").text
    token = page.partition('name="csrf-token" content="')[2].partition('"')[0]
    visitor.post("/language", data={"language": "zh-Hant", "csrf_token": token})
    assert '<html lang="zh-Hant"' in visitor.get("/sign-in").text


def test_a_language_nobody_speaks_is_refused_and_a_foreign_address_is_not_gone_to(client: TestClient) -> None:
    assert client.post("/language", data={"language": "tlh"}).status_code == 422
    assert client.post("/language?next=//evil.example", data={"language": "en"}).headers["location"] == "/"


def test_a_cookie_nobody_set_changes_nothing(visitor: TestClient) -> None:
    visitor.cookies.set(languages.COOKIE, "../../etc")
    assert '<html lang="en"' in visitor.get("/sign-in").text


def test_a_sentence_is_said_in_the_language_of_the_request_only(visitor: TestClient, as_user: AsUser) -> None:
    mary = as_user("Mary")
    assert "登出" in mary.get("/account", headers={"accept-language": "zh-TW"}).text
    assert "Sign out" in mary.get("/account").text


def test_what_is_filled_in_is_escaped_and_the_rest_is_not_touched(chinese: None) -> None:
    assert languages.gettext("Nobody translated %(what)s at 100%%.", what="<this>") == "Nobody translated <this> at 100%."
    assert languages.known("") == ""
    assert languages.known("100% of it") == "100% of it"


async def _refuse_in(group: WriteGroup, language: str) -> str:
    languages.use(language)

    def job(connection: object) -> None:
        raise ValueError(languages.gettext("Sign out"))

    try:
        await group.run(job)
    except ValueError as refusal:
        return str(refusal)
    return "nothing was refused"


def test_a_write_that_shares_a_transaction_refuses_in_its_own_language(engine: Engine) -> None:
    group = WriteGroup(engine)
    with ThreadPoolExecutor(1) as pool:  # a browser of an earlier test may have left a running loop in this thread
        said = [pool.submit(anyio.run, _refuse_in, group, language).result() for language in ("zh-Hant", "en")]
    assert said == ["登出", "Sign out"]
