"""A request that the database made give way, or that somebody was faster than, is done a second time. A pure ASGI layer.

Of two transactions that wait for each other PostgreSQL ends one; of two that make the same unique thing it takes one. The one
that lost changed nothing, so that all of the request may be done again: it then sees what the other did, and says so in the
words of whoever checks it. `error_replies` calls what fails again a clash, or a database that is busy.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TRIES = 3
LONGEST_BODY = 1_000_000  # bytes kept for the second try; an import that is longer is refused at the first
_KEY = "tastemaker_try"


@dataclass
class Try:
    """One of a request's tries."""

    is_last: bool
    again: bool = False


def wants_another(scope: Scope) -> bool:
    """Called for a failure that is worth another try; whether there will be one, and the reply is not to be sent."""
    this: Try | None = scope.get(_KEY)
    if this is not None and not this.is_last:
        this.again = True
    return this is not None and this.again


class SecondTry:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive)
        state = scope.setdefault("state", {})  # the layers around this one read there what a route left
        before = dict(state)
        for number in range(1, TRIES + 1):
            this = Try(is_last=number == TRIES)
            body.rewind(this)
            state.clear()
            state.update(before)
            fresh = {**scope, _KEY: this}  # routing writes into its scope
            await self.app(fresh, body.receive, _unless(this, send))
            if not this.again:
                return


def _unless(this: Try, send: Send) -> Send:
    async def send_unless(message: Message) -> None:
        if not this.again:
            await send(message)

    return send_unless


class _Body:
    """The request's body, kept while it is short, to be read once more."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []
        self._ahead: deque[Message] = deque()
        self._length = 0
        self._try: Try | None = None

    def rewind(self, this: Try) -> None:
        self._ahead = deque(self._kept)
        self._try = this

    async def receive(self) -> Message:
        if self._ahead:
            return self._ahead.popleft()
        message = await self._receive()
        if message["type"] == "http.request" and self._length <= LONGEST_BODY:
            self._length += len(message.get("body", b""))
            self._kept.append(message)
        if self._length > LONGEST_BODY and self._try is not None:
            self._kept.clear()
            self._try.is_last = True
        return message
