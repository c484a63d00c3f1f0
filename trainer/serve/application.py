"""What clients of the warm process talk to: two addresses that put a job on the desk and pass on what it is told.

A client that goes away takes its job along. Runs in a thread of its own, beside the one that computes. Knows no model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from trainer.contract.messages import Message, as_json
from trainer.contract.serving.questions import Models, Scoring, Writing
from trainer.serve.jobs import Desk, Event, Full, Job

LATER: Final = {"Retry-After": "2"}  # seconds
GONE_S: Final = 0.5  # between two looks whether a client that waits is still there


def application(desk: Desk) -> Starlette:
    async def write(request: Request) -> Response:
        given = await request.json()
        asked = Writing(**{**given, "models": Models(**given["models"])})
        return await _reply(request, desk, asked)

    async def score(request: Request) -> Response:
        given = await request.json()
        asked = Scoring(**{**given, "models": Models(**given["models"])})
        return await _reply(request, desk, asked)

    return Starlette(routes=[Route("/writing", write, methods=["POST"]), Route("/scores", score, methods=["POST"])])


@dataclass
class _Told:
    """What a job is told, event by event, in the event loop of whoever listens."""

    job: Job
    events: asyncio.Queue[Event | None]

    async def next(self) -> Event | None:
        return await self.events.get()


def _begin(desk: Desk, asked: Writing | Scoring) -> _Told:
    """Raises Full."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    job = Job(asked, _teller(loop, events))
    desk.put(job)
    return _Told(job, events)


def _teller(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event | None]) -> Callable[[Event | None], None]:
    def tell(event: Event | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    return tell


async def _reply(request: Request, desk: Desk, asked: Writing | Scoring) -> Response:
    """Begun with the first event, so that a refusal has a status of its own."""
    try:
        told = _begin(desk, asked)
    except Full:
        return JSONResponse(as_json(Message("serving_full")), 503, LATER)
    first = await _first(request, told)
    if first is None:
        return Response(status_code=499)  # nobody reads it
    if "refused" in first:
        return JSONResponse(first["refused"], 503 if first["later"] else 422, LATER if first["later"] else None)
    if "failed" in first:
        return Response(status_code=500)
    return StreamingResponse(_lines(told, first), media_type="application/x-ndjson")


async def _first(request: Request, told: _Told) -> Event | None:
    """The first event; None where the client has gone before there was one."""
    while True:
        try:
            async with asyncio.timeout(GONE_S):
                return await told.next()
        except TimeoutError:
            if await request.is_disconnected():
                told.job.gone.set()
                return None


async def _lines(told: _Told, first: Event) -> AsyncIterator[str]:
    event: Event | None = first
    try:
        while event is not None:
            yield _line(event)
            event = await told.next()
    finally:
        told.job.gone.set()


def _line(event: Any) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"
