"""Pages for signing in and out, invitations, one's account and keys, and a project's people."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import invitations, keys, people, service
from app.accounts.forms import AcceptForm, ChangedRoleForm, KeyForm, PasswordForm, RoleForm, SessionForm, SignInForm
from app.accounts.passwords import hash_new_password
from app.accounts.sign_in import Doorman
from app.database.engine import Db, WriteDb, get_engine, read_session, write_turn
from app.errors import Conflict, Invalid, Refusal, TooMany
from app.language.languages import _
from app.models import Project
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID
from app.web.pages import local, redirect, render
from app.web.security import SESSION_DAYS, Caller, Principal, current_principal, session_cookie

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
Token = Annotated[str, Path(max_length=200)]


async def _doorman(request: Request) -> Doorman:
    doorman: Doorman = request.app.state.doorman
    return doorman


# Signing in and out


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/") -> Response:
    if current_principal(request):
        return redirect(request, local(next))
    return render(request, "accounts/sign_in.html", next=local(next), email="", problem="")


@router.post("/sign-in")
async def sign_in(
    request: Request, form: Annotated[SignInForm, Form()], doorman: Annotated[Doorman, Depends(_doorman)]
) -> Response:
    address = request.client.host if request.client else "unknown"
    try:
        user_id = await run_in_threadpool(doorman.check, form.email, form.password, address)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_sign_in_again, request, form, refusal)
    return await _enter(request, user_id, local(form.next))


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


async def _enter(request: Request, user_id: int, url: str, message: str = "") -> Response:
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


# Invitations


@router.get("/invitations/{token}")
def invitation_page(request: Request, session: Db, token: Token) -> Response:
    return _invitation(request, invitations.read_offer(session, token), AcceptForm())


@router.post("/invitations/{token}")
async def accept_invitation(request: Request, token: Token, form: Annotated[AcceptForm, Form()]) -> Response:
    """A signed-in person joins as they are; anyone else makes an account first."""
    principal = current_principal(request)
    if principal is not None:
        async with write_turn(get_engine(request)) as session:
            offer = await run_in_threadpool(invitations.accept_as, session, token, principal.user_id)
        return redirect(request, _home_of(offer), _("You are in."))
    try:
        await run_in_threadpool(_offer, request, token)  # before what costs
        password_hash = await run_in_threadpool(hash_new_password, form.password, form.name, form.email)
        async with write_turn(get_engine(request)) as session:
            offer = await run_in_threadpool(invitations.read_offer, session, token)
            user_id = await run_in_threadpool(invitations.accept_as_new, session, token, form.name, form.email, password_hash)
    except (Invalid, Conflict) as refusal:
        return await run_in_threadpool(_invitation_again, request, token, form, refusal)
    return await _enter(request, user_id, _home_of(offer), _("Welcome to Tastemaker."))


def _invitation_again(request: Request, token: str, form: AcceptForm, refusal: Refusal) -> Response:
    return _invitation(request, _offer(request, token), form, refusal)


def _offer(request: Request, token: str) -> invitations.Offer:
    with read_session(get_engine(request)) as session:
        return invitations.read_offer(session, token)


def _invitation(request: Request, offer: invitations.Offer, form: AcceptForm, refusal: Refusal | None = None) -> Response:
    return render(
        request,
        "accounts/invitation.html",
        status=refusal.status if refusal else 200,
        offer=offer,
        name=form.name,
        email=form.email,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
        sign_in_url=f"/sign-in?next={quote(request.url.path)}",
    )


def _home_of(offer: invitations.Offer) -> str:
    return f"/projects/{offer.project_slug}/annotate" if offer.role == "annotator" else "/"


# One's own account


@router.get("/account")
def account_page(request: Request, session: Db, caller: Caller) -> Response:
    return _account(request, session, caller)


def _account(request: Request, session: Session, caller: Principal, refusal: Refusal | None = None) -> Response:
    return render(
        request,
        "accounts/account.html",
        status=refusal.status if refusal else 200,
        places=service.places_of(session, caller.user_id),
        sessions=service.open_sessions(session, caller.user_id),
        current=caller.credential,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


@router.post("/account/password")
async def change_password(
    request: Request,
    caller: Caller,
    form: Annotated[PasswordForm, Form()],
    doorman: Annotated[Doorman, Depends(_doorman)],
) -> Response:
    address = request.client.host if request.client else "unknown"
    try:
        await run_in_threadpool(doorman.check, caller.email, form.current, address)
        password_hash = await run_in_threadpool(hash_new_password, form.password, caller.name, caller.email)
    except (Invalid, TooMany) as refusal:
        wrong = refusal.detail == _(service.WRONG_SIGN_IN)
        shown = (
            Invalid(_("That is not your current password."), {"current": _("Not your current password.")}) if wrong else refusal
        )
        return await run_in_threadpool(_account_again, request, caller, shown)
    async with write_turn(get_engine(request)) as session:
        await run_in_threadpool(service.change_password, session, caller.user_id, password_hash)
    return await _enter(request, caller.user_id, "/account", _("Your password is changed. Every other browser is signed out."))


def _account_again(request: Request, caller: Principal, refusal: Refusal) -> Response:
    with read_session(get_engine(request)) as session:
        return _account(request, session, caller, refusal)


@router.post("/account/sessions/revocation")
def revoke_sessions(request: Request, session: WriteDb, caller: Caller, form: Annotated[SessionForm, Form()]) -> Response:
    if form.session:
        service.close_session(session, caller.user_id, form.session)
        return redirect(request, "/account", _("That browser is signed out."))
    service.close_sessions(session, caller.user_id, keep=caller.credential)
    return redirect(request, "/account", _("Every other browser is signed out."))


# One's own keys


@router.get("/account/keys")
def keys_page(request: Request, session: Db, caller: Caller) -> Response:
    return render(request, "accounts/keys.html", keys=keys.keys_of(session, caller.user_id), secret="", problem="", errors={})


@router.post("/account/keys")
def make_key(request: Request, session: WriteDb, caller: Caller, form: Annotated[KeyForm, Form()]) -> Response:
    secret, problem = "", ""
    errors: dict[str, str] = {}
    try:
        _, secret = keys.make_key(session, caller.user_id, form.scopes, form.days, caller, form.name)
    except Invalid as refusal:
        problem, errors = refusal.detail, refusal.fields
    return render(
        request,
        "accounts/keys.html",
        status=422 if problem else 201,
        keys=keys.keys_of(session, caller.user_id),
        secret=secret,
        problem=problem,
        errors=errors,
    )


@router.post("/account/keys/{id}/revocation")
def revoke_key(request: Request, session: WriteDb, caller: Caller, key_id: Id) -> Response:
    keys.revoke_key(session, key_id, caller)
    return redirect(request, "/account/keys", _("The key is revoked."))


# A project's people


@router.get("/projects/{slug}/people")
def people_page(request: Request, session: Db, project: CurrentProject) -> Response:
    return _people(request, session, project)


def _people(request: Request, session: Session, project: Project, link: str = "", role: str = "annotator") -> Response:
    return render(
        request,
        "accounts/people.html",
        status=201 if link else 200,
        project=project,
        members=people.members(session, project.id),
        invitations=invitations.open_invitations(session, project.id),
        link=link,
        role=role,
    )


@router.post("/projects/{slug}/invitations")
def invite(
    request: Request, project: CurrentProject, session: WriteDb, caller: Caller, form: Annotated[RoleForm, Form()]
) -> Response:
    token = invitations.invite(session, project.id, form.role, caller.user_id)
    settings: Settings = request.app.state.settings
    base = settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")
    return _people(request, session, project, f"{base}/invitations/{token}", form.role)


@router.post("/projects/{slug}/invitations/{id}/revocation")
def withdraw_invitation(
    request: Request, project: CurrentProject, session: WriteDb, caller: Caller, invitation_id: Id
) -> Response:
    invitations.revoke_invitation(session, project.id, invitation_id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/people", _("The invitation is withdrawn."))


@router.post("/projects/{slug}/people/{id}/role")
def change_role(
    request: Request,
    project: CurrentProject,
    session: WriteDb,
    caller: Caller,
    user_id: Id,
    form: Annotated[ChangedRoleForm, Form()],
) -> Response:
    people.set_role(session, project.id, user_id, form.role, caller, seen=form.seen)
    return redirect(request, f"/projects/{project.slug}/people", _("The role is changed."))


@router.post("/projects/{slug}/people/{id}/removal")
def remove_member(request: Request, project: CurrentProject, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    people.remove_member(session, project.id, user_id, caller)
    return redirect(request, f"/projects/{project.slug}/people", _("They no longer belong to the project. Their labels stay."))
