"""How many are in the house at once, and how many may wait for it. A pure ASGI layer.

Whoever finds the waiting room full is told so at once, and when to come back: a crowd is served as fast as the machine can, and
nobody waits for what would come too late. A place is given back when the reply begins: by then the database has been asked all
there is to ask and the transaction is over, so that a slow reader holds nothing but their own connection. For the same reason
a body is read before a place is taken.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Unavailable
from app.language import languages, spacing
from app.language.languages import N_, known
from app.web.error_replies import is_api, refuse
from app.web.pages import environment

PATIENCE_S: Final = 0.5  # for a place; then the crowd is slower than was thought when it was let into the waiting room
LONGEST_BODY: Final = 250_000  # bytes read ahead, of whoever sends them; a verdict with the longest rewrite is shorter
COME_BACK_S: Final = (1, 5)  # drawn from these, so that not all come back together


class Full(Unavailable):
    title = N_("Many people are here right now")

    def __init__(self) -> None:
        super().__init__(N_("Nothing of what you asked for was done. Please try again in a few seconds."))


class Room:
    """So many places, and a waiting room; first come, first served. Of one event loop: a server has one."""

    def __init__(self, places: int, most_waiting: int, patience_s: float = PATIENCE_S) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._patience_s = patience_s
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place, perhaps after a wait. Raises Full at once where too many wait, and when the patience ends."""
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except BaseException as error:
            if not turn.cancelled():  # given in the same instant
                self.leave()
            elif turn in self._waiting:  # whoever left at this moment may have passed it over
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise Full from None
            raise

    def leave(self) -> None:
        """Give the place to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class WaitingRoom:
    """Lets requests into the application. `room_for` says which room's place one needs; None needs none."""

    def __init__(self, app: ASGIApp, room_for: Callable[[str, str], Room | None]) -> None:
        self.app = app
        self._room_for = room_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        room = self._room_for(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if room is None:
            await self.app(scope, receive, send)
            return
        try:
            receive = await _read_ahead(scope, receive)
        except ClientDisconnect:
            return
        try:
            await room.enter()
        except Full as full:
            await _turned_away(Request(scope, receive), full)(scope, receive, send)
            return
        inside = True

        def leave() -> None:
            nonlocal inside
            if inside:
                inside = False
                room.leave()

        async def send_from_outside(message: Message) -> None:
            if message["type"] == "http.response.start":
                leave()
            await send(message)

        try:
            await self.app(scope, receive, send_from_outside)
        finally:
            leave()


def _turned_away(request: Request, full: Full) -> Response:
    headers = {"Retry-After": str(random.randint(*COME_BACK_S))}
    if is_api(request):
        return refuse(request, full, headers)
    return HTMLResponse(_page(languages.current(), request.method in ("GET", "HEAD")), full.status, headers)


@lru_cache(maxsize=8)
def _page(language: str, may_try_again: bool) -> str:
    """Made once: where hundreds are turned away in a second, writing a page for each would hold back whoever is inside."""
    full = Full()
    text = (
        environment()
        .get_template("crowded.html")
        .render(
            language=language,
            text_direction=languages.locale().text_direction,
            title=known(full.title),
            detail=full.detail,
            may_try_again=may_try_again,
        )
    )
    return spacing.settled(text)


async def _read_ahead(scope: Scope, receive: Receive) -> Receive:
    """What gives the request's body, read to its end where it is not too long. Raises ClientDisconnect."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    if ("transfer-encoding" not in headers and length in ("", "0")) or (length.isdigit() and int(length) > LONGEST_BODY):
        return receive
    read: deque[Message] = deque()
    size = 0
    while size <= LONGEST_BODY:
        read.append(await receive())
        if read[-1]["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(read[-1].get("body", b""))
        if not read[-1].get("more_body", False):
            break

    async def from_the_beginning() -> Message:
        return read.popleft() if read else await receive()

    return from_the_beginning
