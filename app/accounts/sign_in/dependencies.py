"""What routes share that let somebody in: the doorman, and the session that is opened for whoever showed who they are."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import service
from app.accounts.second_factor import service as second_factor
from app.accounts.sign_in.doorman import Doorman, Visitor
from app.accounts.sign_in.hashing import Hashing
from app.database.engine import get_engine, read_session, write_turn
from app.settings import Settings
from app.web.pages import redirect
from app.web.security import SESSION_DAYS, device_cookie, session_cookie

DEVICE_DAYS = 400  # the longest that browsers keep a cookie


async def current_doorman(request: Request) -> Doorman:
    doorman: Doorman = request.app.state.doorman
    return doorman


async def current_hashing(request: Request) -> Hashing:
    hashing: Hashing = request.app.state.hashing
    return hashing


async def current_visitor(request: Request) -> Visitor:
    """The client's own address where a proxy that is trusted says it: `TASTEMAKER_TRUSTED_PROXIES`, applied by the server."""
    settings: Settings = request.app.state.settings
    address = request.client.host if request.client else "unknown"
    return Visitor(address[:60], request.cookies.get(device_cookie(settings), "")[:100])


CurrentDoorman = Annotated[Doorman, Depends(current_doorman)]
CurrentHashing = Annotated[Hashing, Depends(current_hashing)]
CurrentVisitor = Annotated[Visitor, Depends(current_visitor)]


async def enter(request: Request, user_id: int, url: str, message: str = "") -> Response:
    """Let the person in who showed who they are, and go on to `url`; by way of a code where they have a second factor."""
    if not await run_in_threadpool(_owes_code, request, user_id):
        return await enter_fully(request, user_id, url, message)
    settings: Settings = request.app.state.settings
    before = request.cookies.get(session_cookie(settings))
    async with write_turn(get_engine(request)) as session:
        secret = await run_in_threadpool(service.open_half, session, user_id, before)
    response = redirect(request, f"/sign-in/code?next={quote(url)}", message)
    _set_cookie(request, response, session_cookie(settings), secret, 1)
    return response


def _owes_code(request: Request, user_id: int) -> bool:
    with read_session(get_engine(request)) as session:
        return second_factor.is_on(session, user_id)


async def enter_fully(request: Request, user_id: int, url: str, message: str = "") -> Response:
    """Open a fresh session for the person and go on to `url`."""
    settings: Settings = request.app.state.settings
    before = request.cookies.get(session_cookie(settings))
    agent = request.headers.get("user-agent", "")
    visitor = await current_visitor(request)
    async with write_turn(get_engine(request)) as session:
        opened = await run_in_threadpool(service.open_session, session, user_id, agent, before, visitor.device, visitor.address)
    response = redirect(request, url, message)
    _set_cookie(request, response, session_cookie(settings), opened.secret, SESSION_DAYS)
    _set_cookie(request, response, device_cookie(settings), opened.device, DEVICE_DAYS)
    return response


def _set_cookie(request: Request, response: Response, name: str, value: str, days: int) -> None:
    settings: Settings = request.app.state.settings
    response.set_cookie(
        name,
        value,
        max_age=days * 24 * 3600,
        path="/",
        secure=settings.secure_cookies or request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
