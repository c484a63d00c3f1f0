"""Health over the API: whether the process answers, and whether all that it needs works."""

from __future__ import annotations

from asyncio import shield, wrap_future
from typing import Literal

from fastapi import APIRouter, Request

from app.errors import Unavailable
from app.language.languages import _
from app.web.json_types import Reply
from app.web.watch.health import HealthWatch

router = APIRouter(tags=["health"])


class LiveReply(Reply):
    status: Literal["ok"]


class HealthReply(Reply):
    status: Literal["ok"]
    database: Literal["at head"]
    worker: Literal["alive", "away"]


@router.get("/health/live", summary="Whether the web process answers at all; looks at nothing else")
async def show_liveness() -> LiveReply:
    return LiveReply(status="ok")


@router.get(
    "/health",
    response_model=HealthReply,
    responses={503: {"description": "The database is behind, or database or data folder cannot be written; the detail says why"}},
    summary="Whether database and data folder take what is written, and whether the worker is alive",
)
async def show_health(request: Request) -> HealthReply:
    watch: HealthWatch = request.app.state.health
    found = await shield(wrap_future(watch.look()))  # shared: one who goes away takes it from nobody
    if not found.at_head:
        raise Unavailable(_("The database is not at the newest version. Stop the server and start it with `tastemaker up`."))
    return HealthReply(status="ok", database="at head", worker="alive" if found.worker_alive else "away")
