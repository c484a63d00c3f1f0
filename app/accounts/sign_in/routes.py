"""Pages for signing in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import service
from app.accounts.forms import SignInForm
from app.accounts.sign_in.dependencies import CurrentDoorman, CurrentVisitor, enter
from app.database.engine import WriteDb
from app.errors import Invalid, Refusal, TooMany
from app.language.languages import _
from app.settings import Settings
from app.web.pages import local, redirect, render
from app.web.security import Caller, current_principal, session_cookie

router = APIRouter()


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/") -> Response:
    if current_principal(request):
        return redirect(request, local(next))
    return render(request, "accounts/sign_in.html", next=local(next), email="", problem="")


@router.post("/sign-in")
async def sign_in(
    request: Request, form: Annotated[SignInForm, Form()], doorman: CurrentDoorman, visitor: CurrentVisitor
) -> Response:
    try:
        user_id = await doorman.check(form.email, form.password, visitor)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_sign_in_again, request, form, refusal)
    return await enter(request, user_id, local(form.next))


def _sign_in_again(request: Request, form: SignInForm, refusal: Refusal) -> Response:
    return render(
        request,
        "accounts/sign_in.html",
        status=refusal.status,
        next=local(form.next),
        email=form.email[:320],
        problem=refusal.detail,
    )


@router.post("/sign-out")
def sign_out(request: Request, session: WriteDb, caller: Caller) -> Response:
    service.close_session(session, caller.user_id, caller.credential)
    response = redirect(request, "/sign-in", _("You are signed out."))
    settings: Settings = request.app.state.settings
    response.delete_cookie(session_cookie(settings), path="/", secure=settings.secure_cookies, httponly=True, samesite="lax")
    return response
