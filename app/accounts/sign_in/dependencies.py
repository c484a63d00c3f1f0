"""What routes share that let somebody in: the doorman, and the session that is opened for whoever showed who they are."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import service
from app.accounts.sign_in.doorman import Doorman
from app.database.engine import get_engine, write_turn
from app.settings import Settings
from app.web.pages import redirect
from app.web.security import SESSION_DAYS, session_cookie


async def current_doorman(request: Request) -> Doorman:
    doorman: Doorman = request.app.state.doorman
    return doorman


CurrentDoorman = Annotated[Doorman, Depends(current_doorman)]


async def enter(request: Request, user_id: int, url: str, message: str = "") -> Response:
    """Open a fresh session for the person and go on to `url`."""
    settings: Settings = request.app.state.settings
    before = request.cookies.get(session_cookie(settings))
    agent = request.headers.get("user-agent", "")
    async with write_turn(get_engine(request)) as session:
        secret = await run_in_threadpool(service.open_session, session, user_id, agent, before)
    response = redirect(request, url, message)
    response.set_cookie(
        session_cookie(settings),
        secret,
        max_age=SESSION_DAYS * 24 * 3600,
        path="/",
        secure=settings.secure_cookies or request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response
