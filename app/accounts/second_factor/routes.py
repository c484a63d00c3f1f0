"""Pages: one's own second factor, and the code that a sign-in asks for."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from markupsafe import Markup
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import service as accounts
from app.accounts.forms import CodeForm, CurrentPasswordForm, SignInCodeForm
from app.accounts.second_factor import service
from app.accounts.sign_in.dependencies import CurrentDoorman, CurrentVisitor, enter_fully
from app.database.engine import Db, get_engine, read_session, write_turn
from app.errors import Conflict, Invalid, Refusal, TooMany
from app.language.languages import _
from app.settings import Settings
from app.web.pages import local, redirect, render
from app.web.security import Caller, Principal, session_cookie

router = APIRouter()


# One's own


@router.get("/account/second-factor")
def second_factor_page(request: Request, session: Db, caller: Caller) -> Response:
    return _page(request, session, caller)


@router.post("/account/second-factor")
async def set_up(
    request: Request,
    caller: Caller,
    form: Annotated[CurrentPasswordForm, Form()],
    doorman: CurrentDoorman,
    visitor: CurrentVisitor,
) -> Response:
    """Asks for the password: somebody who found a browser open must not lock its person out."""
    try:
        await doorman.check_own(caller.email, form.current, visitor)
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.begin, session, caller.user_id)
    except (Invalid, Conflict, TooMany) as refusal:
        return await run_in_threadpool(_again, request, caller, refusal)
    return await run_in_threadpool(_set_up_page, request, caller)


@router.post("/account/second-factor/confirmation")
async def confirm(
    request: Request, caller: Caller, form: Annotated[CodeForm, Form()], doorman: CurrentDoorman, visitor: CurrentVisitor
) -> Response:
    try:
        match = await doorman.check_code(caller.user_id, form.code, visitor)
        async with write_turn(get_engine(request)) as session:
            codes = await run_in_threadpool(service.confirm, session, caller.user_id, match)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_set_up_page, request, caller, refusal)
    return await run_in_threadpool(_again, request, caller, None, codes)


@router.post("/account/second-factor/codes")
async def make_codes(
    request: Request, caller: Caller, form: Annotated[CodeForm, Form()], doorman: CurrentDoorman, visitor: CurrentVisitor
) -> Response:
    try:
        match = await doorman.check_code(caller.user_id, form.code, visitor)
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.use, session, caller.user_id, match)
            codes = await run_in_threadpool(service.new_codes, session, caller.user_id)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_again, request, caller, refusal)
    return await run_in_threadpool(_again, request, caller, None, codes)


@router.post("/account/second-factor/removal")
async def turn_off(
    request: Request, caller: Caller, form: Annotated[CodeForm, Form()], doorman: CurrentDoorman, visitor: CurrentVisitor
) -> Response:
    try:
        match = await doorman.check_code(caller.user_id, form.code, visitor)
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.use, session, caller.user_id, match)
            await run_in_threadpool(service.turn_off, session, caller.user_id, caller.user_id)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_again, request, caller, refusal)
    return redirect(request, "/account/second-factor", _("Your second factor is off."))


def _again(request: Request, caller: Principal, refusal: Refusal | None, codes: list[str] | None = None) -> Response:
    with read_session(get_engine(request)) as session:
        return _page(request, session, caller, refusal, codes)


def _page(
    request: Request, session: Session, caller: Principal, refusal: Refusal | None = None, codes: list[str] | None = None
) -> Response:
    return render(
        request,
        "accounts/second_factor.html",
        status=refusal.status if refusal else 201 if codes else 200,
        state=service.state_of(session, caller.user_id),
        due=caller.second_factor_due and not codes,
        codes=codes or [],
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


def _set_up_page(request: Request, caller: Principal, refusal: Refusal | None = None) -> Response:
    """With the secret once more after a wrong code: nobody should have to scan it twice for a slip of a finger."""
    with read_session(get_engine(request)) as session:
        secret = service.pending_secret(session, caller.user_id)
        if secret is None:
            return _page(request, session, caller, refusal)
    return render(
        request,
        "accounts/second_factor_set_up.html",
        status=refusal.status if refusal else 201,
        square=_square(service.address_of(secret, caller.email)),
        secret=" ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


def _square(address: str) -> Markup:
    """The address as a QR code: an SVG of ours, dark on light in both themes, as cameras want it."""
    from segno import make  # not at the start of every process

    drawn: str = make(address, error="m").svg_inline(scale=5, border=4, dark="#000", light="#fff", svgclass="qr")
    return Markup(drawn)


# Signing in


@router.get("/sign-in/code")
def code_page(request: Request, session: Db, next: str = "/") -> Response:
    if accounts.who_waits(session, _shown(request)) is None:
        return redirect(request, _sign_in_again(next))
    return _code_page(request, local(next))


@router.post("/sign-in/code")
async def sign_in_with_code(
    request: Request, form: Annotated[SignInCodeForm, Form()], doorman: CurrentDoorman, visitor: CurrentVisitor
) -> Response:
    """For whoever gave the right password in this browser some minutes ago."""
    user_id = await run_in_threadpool(_who_waits, request)
    if user_id is None:
        return redirect(request, _sign_in_again(form.next), _("That took too long. Please sign in again."), "note")
    try:
        match = await doorman.check_code(user_id, form.code, visitor)
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.use, session, user_id, match)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_code_page, request, local(form.next), refusal)
    return await enter_fully(request, user_id, local(form.next))


def _sign_in_again(next: str) -> str:
    return "/sign-in" if local(next) == "/" else f"/sign-in?next={quote(local(next))}"


def _who_waits(request: Request) -> int | None:
    with read_session(get_engine(request)) as session:
        return accounts.who_waits(session, _shown(request))


def _shown(request: Request) -> str:
    settings: Settings = request.app.state.settings
    return request.cookies.get(session_cookie(settings), "")


def _code_page(request: Request, next: str, refusal: Refusal | None = None) -> Response:
    return render(
        request,
        "accounts/sign_in_code.html",
        status=refusal.status if refusal else 200,
        next=next,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )
