"""Pages of one's own account: name and email, password, signed-in browsers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import service
from app.accounts.browsers import browser_name
from app.accounts.forms import PasswordForm, ProfileForm, SessionForm
from app.accounts.sign_in.dependencies import CurrentDoorman, CurrentHashing, CurrentVisitor, enter
from app.accounts.sign_in.passwords import hash_new_password
from app.accounts.who_is_out import end_what_was_made, left_open
from app.database.engine import Db, WriteDb, get_engine, read_session, write_turn
from app.errors import Conflict, Invalid, Refusal, TooMany
from app.language.languages import _
from app.web.pages import redirect, render
from app.web.security import Caller, Principal

router = APIRouter()


@router.get("/account")
def account_page(request: Request, session: Db, caller: Caller) -> Response:
    return _account(request, session, caller)


def _account(
    request: Request, session: Session, caller: Principal, refusal: Refusal | None = None, profile: ProfileForm | None = None
) -> Response:
    """With the refusal beside the form it belongs to: `profile` where that was the one."""
    return render(
        request,
        "accounts/account.html",
        status=refusal.status if refusal else 200,
        profile=profile or ProfileForm(name=caller.name, email=caller.email),
        refused="" if refusal is None else "profile" if profile else "password",
        places=service.places_of(session, caller.user_id),
        sessions=[(one, browser_name(one.user_agent)) for one in service.open_sessions(session, caller.user_id)],
        current=caller.credential,
        left_open=left_open(session, caller.user_id),
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


@router.post("/account/profile")
async def change_profile(
    request: Request,
    caller: Caller,
    form: Annotated[ProfileForm, Form()],
    doorman: CurrentDoorman,
    visitor: CurrentVisitor,
) -> Response:
    """The name is free to change; another email, by which one signs in, asks for the password."""
    try:
        if service.clean_email(form.email) != caller.email:
            await doorman.check_own(caller.email, form.current, visitor)
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.change_profile, session, caller.user_id, form.name, form.email)
    except (Invalid, Conflict, TooMany) as refusal:
        return await run_in_threadpool(_account_again, request, caller, refusal, form)
    return redirect(request, "/account", _("Saved."))


@router.post("/account/password")
async def change_password(
    request: Request,
    caller: Caller,
    form: Annotated[PasswordForm, Form()],
    doorman: CurrentDoorman,
    hashing: CurrentHashing,
    visitor: CurrentVisitor,
) -> Response:
    try:
        await doorman.check_own(caller.email, form.current, visitor)
        password_hash = await hashing.run(hash_new_password, form.password, caller.name, caller.email)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_account_again, request, caller, refusal)
    async with write_turn(get_engine(request)) as session:
        await run_in_threadpool(service.change_password, session, caller.user_id, password_hash)
        if not form.keep:
            await run_in_threadpool(end_what_was_made, session, caller.user_id, caller.user_id)
    return await enter(request, caller.user_id, "/account", _("Your password is changed. Every other browser is signed out."))


def _account_again(request: Request, caller: Principal, refusal: Refusal, profile: ProfileForm | None = None) -> Response:
    with read_session(get_engine(request)) as session:
        return _account(request, session, caller, refusal, profile)


@router.post("/account/sessions/revocation")
def revoke_sessions(request: Request, session: WriteDb, caller: Caller, form: Annotated[SessionForm, Form()]) -> Response:
    if form.session:
        service.close_session(session, caller.user_id, form.session)
        return redirect(request, "/account", _("That browser is signed out."))
    service.close_sessions(session, caller.user_id, by=caller.user_id, keep=caller.credential)
    return redirect(request, "/account", _("Every other browser is signed out."))
