"""The waiting room: who is let in, who waits, who is turned away and told when to come back."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.database.capacity import Capacity
from app.database.engine import POOL_PATIENCE_S, make_engine, write_session
from app.language import spacing
from app.main import create_app, rooms
from app.settings import Settings
from app.web.middleware import waiting_room
from app.web.middleware.waiting_room import Full, Room, WaitingRoom
from app.web.pages import static_url
from app.web.security import session_cookie
from tests.app import factories
from tests.app.web.sockets.test_guard import ends, serving

HERE = "http://localhost"
PAGE = "/sign-in"
CALL = "/api/v1/projects"


def test_whoever_finds_the_waiting_room_full_is_turned_away_at_once() -> None:
    async def crowd() -> BaseException | None:
        room = Room(places=1, most_waiting=1, patience_s=5.0)
        await room.enter()
        waiting = asyncio.create_task(room.enter())
        await asyncio.sleep(0)
        async with asyncio.timeout(0.1):
            (refused,) = await asyncio.gather(room.enter(), return_exceptions=True)
        room.leave()
        await waiting
        return refused

    assert isinstance(asyncio.run(crowd()), Full)


def test_whoever_waited_longest_comes_first() -> None:
    async def crowd() -> list[int]:
        room, came = Room(places=1, most_waiting=3, patience_s=5.0), []

        async def visit(number: int) -> None:
            await room.enter()
            came.append(number)
            room.leave()

        await room.enter()
        visits = [asyncio.create_task(visit(number)) for number in range(3)]
        await asyncio.sleep(0)
        room.leave()
        await asyncio.gather(*visits)
        return came

    assert asyncio.run(crowd()) == [0, 1, 2]


def test_a_place_given_to_somebody_who_leaves_at_that_moment_is_not_lost() -> None:
    async def crowd() -> None:
        room = Room(places=1, most_waiting=1, patience_s=5.0)
        await room.enter()
        waiting = asyncio.create_task(room.enter())
        await asyncio.sleep(0)
        room.leave()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(0.1):
            await room.enter()

    asyncio.run(crowd())


def test_whoever_loses_patience_is_turned_away_and_no_longer_in_the_line() -> None:
    async def crowd() -> None:
        room = Room(places=1, most_waiting=1, patience_s=0.01)
        await room.enter()
        for _ in range(3):
            with pytest.raises(Full):
                await room.enter()
            assert not room._waiting
        room.leave()
        await room.enter()

    asyncio.run(crowd())


# As an application's layer


class House:
    """An application of one place behind the layer; it answers when it is told to."""

    def __init__(self, *, most_waiting: int = 0) -> None:
        self.room = Room(places=1, most_waiting=most_waiting, patience_s=5.0)
        self.layer = WaitingRoom(self._answer, lambda _method, _path: self.room)
        self.inside = 0
        self.may_answer = asyncio.Event()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside += 1
        await self.may_answer.wait()
        body = await Request(scope, receive).body()
        await PlainTextResponse(body)(scope, receive, send)


async def ask(layer: ASGIApp, receive: Receive, send: Send, **more: Any) -> None:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "state": {}} | more
    await layer(scope, receive, send)


async def nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def nowhere(message: Message) -> None: ...


def test_a_body_that_comes_slowly_takes_no_place() -> None:
    async def crowd() -> tuple[int, int]:
        house, rest = House(), asyncio.Event()
        parts: list[Message] = [{"type": "http.request", "body": b"a", "more_body": True}]

        async def slowly() -> Message:
            if parts:
                return parts.pop()
            await rest.wait()
            return {"type": "http.request", "body": b"b", "more_body": False}

        replies: list[Message] = []

        async def keep(message: Message) -> None:
            replies.append(message)

        slow = asyncio.create_task(ask(house.layer, slowly, keep, headers=[(b"content-length", b"2")]))
        await asyncio.sleep(0.01)
        before = house.inside
        house.may_answer.set()
        await ask(house.layer, nothing_more, nowhere)  # would be turned away, were the place taken
        rest.set()
        await slow
        assert replies[-1]["body"] == b"ab"  # nothing of it is lost
        return before, house.inside

    assert asyncio.run(crowd()) == (0, 2)


def test_whoever_leaves_while_sending_never_comes_in() -> None:
    async def crowd() -> int:
        house = House()
        house.may_answer.set()
        parts: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"a", "more_body": True}]

        async def breaks_off() -> Message:
            return parts.pop()

        await ask(house.layer, breaks_off, nowhere, headers=[(b"content-length", b"2")])
        return house.inside

    assert asyncio.run(crowd()) == 0


def test_who_reads_the_reply_slowly_has_left() -> None:
    async def crowd() -> int:
        house, read = House(), asyncio.Event()
        house.may_answer.set()

        async def slowly(message: Message) -> None:
            await read.wait()

        slow = asyncio.create_task(ask(house.layer, nothing_more, slowly))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(0.1):
            await house.room.enter()
        read.set()
        await slow
        return house.inside

    assert asyncio.run(crowd()) == 1


def test_a_request_gives_back_one_place_however_its_reply_comes() -> None:
    async def crowd() -> None:
        house = House()
        house.may_answer.set()
        for _ in range(3):
            await ask(house.layer, nothing_more, nowhere)
        await house.room.enter()
        with pytest.raises(Full):
            await house.room.enter()

    asyncio.run(crowd())


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        ([(b"content-length", b"250001")], 0),  # it says that it is long
        ([(b"content-length", b"250000")], 5),
        ([(b"transfer-encoding", b"chunked")], 3),  # as far as it may be long
        ([], 0),
    ],
    ids=["too long", "just not too long", "of a length it does not say", "none"],
)
def test_so_much_of_a_body_is_read_before_there_is_a_place(headers: list[tuple[bytes, bytes]], read: int) -> None:
    async def crowd() -> int:
        house, taken = House(), 0
        await house.room.enter()
        parts = [b"x" * (50_000 if headers and headers[0][0] == b"content-length" else 100_000)] * 5

        async def receive() -> Message:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": parts[taken - 1], "more_body": taken < len(parts)}

        await ask(house.layer, receive, nowhere, headers=headers)
        assert house.inside == 0
        return taken

    assert asyncio.run(crowd()) == read


def test_a_place_comes_back_from_a_request_that_failed() -> None:
    async def crowd() -> None:
        async def fail(scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("a bug of ours")

        room = Room(places=1, most_waiting=0)
        layer = WaitingRoom(fail, lambda _method, _path: room)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="a bug"):
                await ask(layer, nothing_more, nowhere)

    asyncio.run(crowd())


# In the real application


@pytest.fixture
def full(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The application with a room for nobody."""
    monkeypatch.setattr(layer_of(app), "_room_for", lambda _method, _path: Room(places=0, most_waiting=0))
    return app


def layer_of(app: FastAPI) -> WaitingRoom:
    layer: Any = app.middleware_stack or app.build_middleware_stack()
    app.middleware_stack = layer
    while not isinstance(layer, WaitingRoom):
        layer = layer.app
    return layer


def test_a_call_is_turned_away_with_a_problem_and_when_to_come_back(full: FastAPI, visitor: TestClient) -> None:
    reply = visitor.get(CALL)

    assert reply.status_code == 503
    assert reply.headers["content-type"] == "application/problem+json"
    assert 1 <= int(reply.headers["retry-after"]) <= 5
    assert reply.json()["title"] == "Many people are here right now"
    assert reply.json()["status"] == 503
    assert reply.json()["detail"] == "Nothing of what you asked for was done. Please try again in a few seconds."


@pytest.mark.parametrize("path", [PAGE, CALL])
def test_a_crowd_is_not_told_to_come_back_all_together(full: FastAPI, visitor: TestClient, path: str) -> None:
    assert {visitor.get(path).headers["retry-after"] for _ in range(100)} == {"1", "2", "3", "4", "5"}


def test_a_page_for_a_crowd_is_made_once_in_each_language(full: FastAPI, visitor: TestClient) -> None:
    waiting_room._page.cache_clear()
    for language in ("en", "zh-Hant") * 5:
        visitor.get(PAGE, headers={"accept-language": language})
    assert waiting_room._page.cache_info().misses == 2


def test_who_asks_only_for_the_head_of_a_page_may_try_again(full: FastAPI, visitor: TestClient) -> None:
    assert visitor.head(PAGE).headers["content-length"] == visitor.get(PAGE).headers["content-length"]


def test_who_is_turned_away_keeps_the_connection_and_sends_no_long_body_for_nothing() -> None:
    layer = WaitingRoom(PlainTextResponse("never"), lambda _method, _path: Room(places=0, most_waiting=0))
    with serving(app=layer) as address, closing(HTTPConnection(*address, timeout=5)) as program:
        program.connect()
        client = program.sock
        for _ in range(3):
            program.request("GET", CALL)
            reply = program.getresponse()
            assert (reply.status, reply.will_close) == (503, False)
            reply.read()
        assert program.sock is client
        client.sendall(b"POST /api/v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000)
        assert client.recv(65_536).startswith(b"HTTP/1.1 503 ")  # at once, and not at the end of the body
        assert ends(client, within_s=6)  # nobody reads the rest


@pytest.mark.parametrize(
    ("language", "words", "again"),
    [("en", "Many people are here right now", "Try again"), ("zh-Hant", "現在使用的人很多", "再試一次")],
)
def test_a_page_is_turned_away_in_the_readers_language(
    full: FastAPI, visitor: TestClient, language: str, words: str, again: str
) -> None:
    reply = visitor.get(PAGE, headers={"accept-language": language})

    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert f'lang="{language}"' in reply.text
    assert words in reply.text
    assert again in reply.text
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_a_form_is_turned_away_without_a_link_that_would_lose_it(full: FastAPI, visitor: TestClient) -> None:
    reply = visitor.post(PAGE, data={"email": "a@example.org"})

    assert reply.status_code == 503
    assert "send it again" in reply.text
    assert "Try again" not in reply.text

    reply = visitor.post(PAGE, data={"email": "a@example.org"}, headers={"accept-language": "zh-Hant"})
    assert "。</p>" in reply.text
    assert spacing.SAID not in reply.text, "the mark of a sentence's end, after which no space stands"


def test_a_full_house_still_says_how_it_is_and_gives_its_stylesheets(
    app: FastAPI, visitor: TestClient, cast: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_for = rooms(Capacity(2))
    monkeypatch.setattr(layer_of(app), "_room_for", room_for)
    for path in (PAGE, CALL):
        room = room_for("GET", path)
        assert room is not None
        monkeypatch.setattr(room, "_free", 0)
        monkeypatch.setattr(room, "_most_waiting", 0)

    assert visitor.get(PAGE).status_code == 503
    assert visitor.get("/api/v1/health").status_code == 200
    assert visitor.get(static_url("icon.svg")).status_code == 200


def test_lists_hold_back_no_verdict_and_the_door_nobody_inside() -> None:
    room_for = rooms(Capacity(16))

    lists = {room_for("GET", path) for path in ("/", "/projects/demo/labels", "/api/v1/projects/demo/labels", "/sign-in")}
    judging = {
        room_for("POST", f"/api/v1/{path}")
        for path in ("projects/demo/tasks/next", *(f"tasks/7/{act}" for act in ("label", "skip", "return", "renew", "withdraw")))
    }
    judging |= {room_for("POST", f"/tasks/7/{act}") for act in ("label", "skip")}  # without scripts
    doors = {
        room_for("POST", path) for path in ("/sign-in", "/sign-in/code", "/invitations/x", "/password/x", "/account/password")
    }

    assert [len(kind) for kind in (lists, judging, doors)] == [1, 1, 1]
    assert len(lists | judging | doors) == 3


@pytest.mark.parametrize("at_once", [2, 8])
def test_so_many_may_be_in_and_wait_and_for_so_long(at_once: int) -> None:
    """As docs/operations.md has it."""
    capacity = Capacity(at_once)
    room_for = rooms(capacity)

    def sizes(method: str, path: str) -> tuple[int, int, float]:
        room = room_for(method, path)
        assert room is not None
        return room._free, room._most_waiting, room._patience_s

    assert sizes("GET", "/") == (at_once, 6 * at_once, waiting_room.PATIENCE_S)
    assert sizes("POST", "/sign-in") == (at_once // 2, 4 * at_once, 4.0)
    assert sizes("POST", "/api/v1/tasks/7/label") == (8 * at_once, 64 * at_once, waiting_room.PATIENCE_S)
    assert room_for("GET", "/api/v1/health") is room_for("GET", "/api/v1/health/live") is room_for("GET", "/static/x") is None


# With real threads and a real database


def test_a_crowd_at_a_small_house_is_served_or_turned_away_within_seconds(settings: Settings, signed_in: str) -> None:
    """Without the room's places, whoever has the threads would wait for connections that others hold who wait for a thread."""
    app = create_app(settings.model_copy(update={"at_once": 2}))

    async def crowd() -> list[tuple[int, float]]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client,
        ):
            assert current_default_thread_limiter().total_tokens == 3
            client.cookies.set(session_cookie(settings), signed_in)
            await client.get(CALL)  # the first one compiles its statements
            return await asyncio.gather(*(timed(client) for _ in range(60)))

    async def timed(client: httpx.AsyncClient) -> tuple[int, float]:
        began = time.monotonic()
        reply = await client.get(CALL)
        return reply.status_code, time.monotonic() - began

    replies = asyncio.run(crowd())
    app.state.engine.dispose()

    assert {status for status, _s in replies} == {200, 503}
    assert max(took_s for _status, took_s in replies) < POOL_PATIENCE_S / 2


@pytest.fixture
def signed_in(settings: Settings) -> str:
    """The session of somebody who is signed in."""
    engine = make_engine(settings.url)
    with write_session(engine) as session:
        secret = factories.make_sign_in(session, factories.make_user(session, "Ada", owner=True).id)
    engine.dispose()
    return secret
