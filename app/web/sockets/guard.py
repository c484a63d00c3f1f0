"""uvicorn's HTTP protocol with bounds: how long a request's head may be, how long a client may take, how many may be half open.

Neither uvicorn nor the parser it uses (httptools) has any of its own but for connections that rest between two requests. What
takes time is looked for once a second at all connections together, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

LONGEST_HEAD: Final = 32_768  # bytes of a request line and its headers together
MOST_HEADERS: Final = 100
MOST_PIPELINED: Final = 16  # requests sent ahead of their answers
FRAMING: Final = 8  # bytes sent for each byte of a chunked body, at most; the rest would be trailers and extensions without end

HEAD_S: Final = 10.0  # for the request line and the headers
BODY_GRACE_S: Final = 20.0  # for a body, and a second more for so many bytes of it as follow
SLOWEST_BODY: Final = 16_000
UNREAD_S: Final = 30.0  # in which a client takes nothing of what is sent to it
LINGER_S: Final = 2.0  # for what is still sent to us after the answer

MOST_HALF_OPEN: Final = 64  # connections of one client that have been open for a second without a whole request
OF_A_PROXY: Final = 0.5  # of all that are kept: so many may be half open at a proxy that has not said yet for whom
HALF_OPEN_S: Final = 1.0


async def _nothing(scope: Any, receive: Any, send: Any) -> None: ...


class Refused(Exception):
    """Raised inside of the parser's callbacks: the parser stops there."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `most_connections` of a process: the one that has been quiet for longest makes room for the next."""

    most_connections: ClassVar[int] = 2000
    proxies: ClassVar[Any] = ProxyHeadersMiddleware(_nothing, []).trusted_hosts  # whose word for who their client is is taken

    reading_since: float | None = None  # monotonic: since when the client has owed us the rest of a request
    quiet_since: float = 0.0  # monotonic: since when nothing of a request has been worked on here
    _received = 0  # bytes of this request, its framing included
    _body = 0
    _head_is_whole = False
    _refusal: tuple[int, str] | None = None
    _unread = 0
    _unread_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.most_connections:
            _make_room(self.connections)
        super().connection_made(transport)
        self.reading_since = self.quiet_since = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        # One long header stays inside of the parser until it ends, and trailers come after everything else.
        if self._received - self._body > LONGEST_HEAD + FRAMING * self._body and not self.transport.is_closing():
            self._refuse(431, "The request line and the headers are too long.")

    # Parser callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.reading_since = time.monotonic()
        self._received = self._body = 0
        self._head_is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_is_whole:
            return  # a trailer: nothing of ours asks for one
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_whole = True
        length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if length > LONGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._stop(431, "The request line and the headers are too long.")
        if len(self.pipeline) >= MOST_PIPELINED:
            self._stop(429, "Too many requests were sent ahead of their answers.")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.reading_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.quiet_since = time.monotonic()
        super().on_response_complete()

    # Ending what takes too long

    def look(self, now: float) -> None:
        """Called once a second."""
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        self._look_at_what_is_unread(now)
        if self.reading_since is None:
            return
        waited = now - self.reading_since
        if self.flow.read_paused:  # it is we who do not read
            self.reading_since = now
        elif self._head_is_whole and self.cycle.response_complete:
            if waited > LINGER_S:
                self.transport.close()
        elif waited > (BODY_GRACE_S + self._body / SLOWEST_BODY if self._head_is_whole else HEAD_S):
            self._end_waiting()

    def _end_waiting(self) -> None:
        if self.headers is None:  # browsers open some ahead, and would take our word for the answer to what they ask next
            self.transport.close()
        else:
            self._refuse(408, "The request took too long to arrive.")

    def _look_at_what_is_unread(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > UNREAD_S:
            self.transport.abort()

    def is_half_open(self, now: float) -> bool:
        return self.reading_since is not None and now - self.reading_since > HALF_OPEN_S

    def client_and_share(self) -> tuple[str, int]:
        """Whose half-open connections this one counts among, and how many of them there may be.

        Behind a proxy that is the client it names, once the headers are there. Until then it is the proxy, who is many.
        """
        address = self.client[0] if self.client else ""
        if address not in self.proxies:
            return address, MOST_HALF_OPEN
        told = [value for name, value in self.headers or () if name == b"x-forwarded-for" and self._head_is_whole]
        said = b", ".join(told).decode("latin1")
        client: str = self.proxies.get_trusted_client_address(said)[0] if said else ""
        return (client, MOST_HALF_OPEN) if client else (address, round(OF_A_PROXY * self.most_connections))

    @property
    def is_quiet(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # Refusing

    def _stop(self, status: int, sentence: str) -> None:
        self._refusal = status, sentence
        raise Refused

    def send_400_response(self, msg: str) -> None:
        """Called for whatever the parser cannot go on with."""
        self._refuse(*(self._refusal or (400, msg)))

    def _refuse(self, status: int, sentence: str) -> None:
        """Before there is a request there is no language to answer in."""
        started = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not started:
            head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(sentence)
            self.transport.write(STATUS_LINE[status] + head + sentence.encode("ascii"))
        self.transport.close()


def _make_room(connections: Iterable[Any]) -> None:
    quiet = [one for one in connections if one.is_quiet and not one.transport.is_closing()]
    if quiet:
        min(quiet, key=lambda one: one.quiet_since).transport.abort()


class GuardedServer(uvicorn.Server):
    """Looks at all connections once a second. `at_stop` ends what would keep requests longer than a stop waits for them."""

    def __init__(self, config: uvicorn.Config, at_stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._at_stop = at_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._at_stop()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # it is called ten times a second
            look_at_all(list(self.server_state.connections))
        return await super().on_tick(counter)


def look_at_all(connections: Iterable[Any]) -> None:
    """Ends what takes too long, and of each client what is half open beyond its share: the oldest first."""
    now = time.monotonic()
    half_open: defaultdict[tuple[str, int], list[GuardedProtocol]] = defaultdict(list)
    for connection in connections:
        connection.look(now)
        if connection.is_half_open(now) and not connection.transport.is_closing():
            half_open[connection.client_and_share()].append(connection)
    for (_client, share), those in half_open.items():
        for connection in sorted(those, key=lambda one: one.reading_since or now)[: max(0, len(those) - share)]:
            connection.transport.abort()


def guarded(most_connections: int, proxies: Sequence[str] = ()) -> type[GuardedProtocol]:
    """The protocol for a server that keeps so many connections, some of them of these proxies."""
    trusted = ProxyHeadersMiddleware(_nothing, list(proxies)).trusted_hosts
    return type("GuardedProtocol", (GuardedProtocol,), {"most_connections": most_connections, "proxies": trusted})
