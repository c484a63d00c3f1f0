"""Connections that never become requests, raw on the socket: each is ended, and the house stays open."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.sockets import guard
from app.web.sockets.guard import GuardedServer, guarded
from tests.app.web.sockets.junk import JUNK

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LARGE = b"x" * 20_000_000  # more than the buffers between two programs take


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, and answers with a few words or with very many."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    body = LARGE if scope["path"] == "/large" else b"hello"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(most_connections: int = 2000, proxies: Sequence[str] = (), app: ASGIApp = hello) -> Iterator[tuple[str, int]]:
    """A guarded server's address."""
    protocol = guarded(most_connections, proxies)
    config = uvicorn.Config(app, port=0, loop="uvloop", http=protocol, ws="none", lifespan="off", log_level="critical")
    server = GuardedServer(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with serving() as address:
        yield address


def ask(address: tuple[str, int], sent: bytes = ASK, patience_s: float = 5.0) -> bytes:
    """The first bytes of the answer; empty where the connection was ended without one."""
    with socket.create_connection(address, timeout=patience_s) as client:
        try:
            client.sendall(sent)
            return client.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def ends(client: socket.socket, within_s: float) -> bool:
    """Whether the other side ends the connection in that time."""
    client.settimeout(within_s)
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# In size


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 101 + b"\r\n",
    ],
    ids=["a long request line", "a long header", "many headers"],
)
def test_a_head_beyond_its_bounds_is_refused(address: tuple[str, int], head: bytes) -> None:
    assert ask(address, head).startswith(b"HTTP/1.1 431 ")
    assert ask(address).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "begins",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["a header", "a request line", "a trailer", "an extension of a chunk"],
)
def test_what_never_ends_is_cut_before_it_takes_memory(address: tuple[str, int], begins: bytes) -> None:
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(begins)
        sent = 0
        try:
            while sent < 64_000_000:
                sent += client.send(b"a" * 65_536)
        except OSError:
            pass

    assert sent < 16_000_000  # most of it lay in the buffers between the two
    assert ask(address).startswith(b"HTTP/1.1 200 ")


def test_requests_sent_far_ahead_of_their_answers_are_refused(address: tuple[str, int]) -> None:
    few = ask(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
    assert few.startswith(b"HTTP/1.1 200 ")

    with socket.create_connection(address, timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5000)
        answers = b""
        try:
            while part := client.recv(65_536):
                answers += part
        except OSError:
            pass
    assert answers.count(b"HTTP/1.1 200 ") < 50


def test_a_body_in_the_smallest_chunks_is_taken(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert ask(address, head + b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


# In time


@pytest.mark.parametrize("begins", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, begins: bytes
) -> None:
    monkeypatch.setattr(guard, "HEAD_S", 0.5)
    with socket.create_connection(address) as client:
        client.sendall(begins)
        assert ends(client, within_s=3)


@pytest.mark.parametrize(("begins", "said"), [(b"", b""), (b"GET / HTT", b"HTTP/1.1 408 ")])
def test_only_who_has_begun_to_ask_is_told_why(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, begins: bytes, said: bytes
) -> None:
    monkeypatch.setattr(guard, "HEAD_S", 0.5)
    assert ask(address, begins)[:13] == said


def test_a_body_that_trickles_ends_the_connection(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_GRACE_S", 0.5)
    with socket.create_connection(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        client.sendall(b"a")
        assert ends(client, within_s=3)


def test_a_body_that_comes_as_fast_as_a_slow_line_is_taken(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_GRACE_S", 1.0)
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(10):  # 2.5 s, a second and a half longer than the grace
            client.sendall(b"a" * 10_000)
            time.sleep(0.25)
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_nobody_reads_ends_the_connection(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "UNREAD_S", 0.5)
    with socket.create_connection(address) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(4)
        client.settimeout(5)
        read = 0
        try:
            while part := client.recv(1_000_000):
                read += len(part)
        except OSError:
            pass
        assert read < len(LARGE)


# In number


def test_connections_of_one_address_that_ask_nothing_are_ended_but_for_a_few(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MOST_HALF_OPEN", 5)
    with ExitStack() as open_ones:
        idle = [open_ones.enter_context(socket.create_connection(address)) for _ in range(40)]
        time.sleep(3)
        assert sum(not ends(client, within_s=0.01) for client in idle) == 5
        assert ask(address).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("proxies", [["127.0.0.1"], ["127.0.0.0/8"], ["*"]])
def test_what_is_half_open_at_a_proxy_has_half_of_the_house(monkeypatch: pytest.MonkeyPatch, proxies: list[str]) -> None:
    monkeypatch.setattr(guard, "MOST_HALF_OPEN", 5)
    with serving(most_connections=60, proxies=proxies) as address, ExitStack() as open_ones:
        idle = [open_ones.enter_context(socket.create_connection(address)) for _ in range(50)]
        time.sleep(3)
        assert sum(not ends(client, within_s=0.01) for client in idle) == 30
        assert ask(address).startswith(b"HTTP/1.1 200 ")


def test_the_clients_of_a_proxy_that_streams_bodies_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_HALF_OPEN", 5)
    with serving(most_connections=60, proxies=["127.0.0.1"]) as address, ExitStack() as open_ones:
        said = ["192.0.2.1"] * 12 + ["192.0.2.1, 192.0.2.2"] * 7 + ["192.0.2.3"] * 3 + [""] * 8
        clients = []
        for one in said:
            clients.append(open_ones.enter_context(socket.create_connection(address)))
            forwarded = f"X-Forwarded-For: {one}\r\n" if one else ""
            clients[-1].sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + forwarded.encode() + b"Content-Length: 9\r\n\r\na")
        time.sleep(3)
        left = [one for one, client in zip(said, clients, strict=True) if not ends(client, within_s=0.01)]
    assert {one: left.count(one) for one in said} == {"192.0.2.1": 5, "192.0.2.1, 192.0.2.2": 5, "192.0.2.3": 3, "": 8}


def test_nobody_but_a_proxy_says_for_whom_they_ask(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_HALF_OPEN", 5)
    with ExitStack() as open_ones:
        clients = []
        for number in range(12):
            clients.append(open_ones.enter_context(socket.create_connection(address)))
            head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.{number}\r\nContent-Length: 9\r\n\r\na"
            clients[-1].sendall(head.encode())
        time.sleep(3)
        assert sum(not ends(client, within_s=0.01) for client in clients) == 5


def test_a_house_full_of_idle_connections_makes_room_for_who_asks() -> None:
    with serving(most_connections=20) as address, ExitStack() as open_ones:
        for _ in range(60):
            open_ones.enter_context(socket.create_connection(address))
        began = time.monotonic()
        assert ask(address).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began < 1


# Junk


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.nightly)])
def test_junk_on_the_socket_is_answered_or_ended_and_the_house_stays_open(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(guard, "HEAD_S", 1.0)
    monkeypatch.setattr(guard, "BODY_GRACE_S", 1.0)
    with ExitStack() as open_ones:
        clients = [open_ones.enter_context(socket.create_connection(address)) for _ in range(len(JUNK) * times)]
        for client, junk in zip(clients, JUNK * times, strict=True):
            try:
                client.sendall(junk)
            except OSError:
                continue
        assert all(ends(client, within_s=10) for client in clients)

    assert ask(address).startswith(b"HTTP/1.1 200 ")
