"""Pages for signing in and out, invitations, password links, one's account and keys."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import invitations, keys, password_links, service
from app.accounts.forms import AcceptForm, KeyForm, NewPasswordForm, PasswordForm, ProfileForm, SessionForm, SignInForm
from app.accounts.passwords import hash_new_password
from app.accounts.sign_in import Doorman
from app.database.engine import Db, WriteDb, get_engine, read_session, write_turn
from app.errors import Conflict, Invalid, Refusal, TooMany
from app.language.languages import _
from app.settings import Settings
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


# Password links


@router.get("/password/{token}")
def password_link_page(request: Request, session: Db, token: Token) -> Response:
    return _password_link(request, password_links.whose(session, token).email)


@router.post("/password/{token}")
async def use_password_link(request: Request, token: Token, form: Annotated[NewPasswordForm, Form()]) -> Response:
    """The password is hashed only for a link that opens: that costs."""
    name, email = await run_in_threadpool(_whose, request, token)
    try:
        password_hash = await run_in_threadpool(hash_new_password, form.password, name, email)
    except Invalid as refusal:
        return await run_in_threadpool(_password_link, request, email, refusal)
    async with write_turn(get_engine(request)) as session:
        user_id = await run_in_threadpool(password_links.use_link, session, token, password_hash)
    return await _enter(request, user_id, "/", _("Your password is changed. Every other browser is signed out."))


def _whose(request: Request, token: str) -> tuple[str, str]:
    with read_session(get_engine(request)) as session:
        user = password_links.whose(session, token)
        return user.name, user.email


def _password_link(request: Request, email: str, refusal: Refusal | None = None) -> Response:
    return render(
        request,
        "accounts/password_link.html",
        status=refusal.status if refusal else 200,
        email=email,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


# One's own account


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
        sessions=service.open_sessions(session, caller.user_id),
        current=caller.credential,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


@router.post("/account/profile")
async def change_profile(
    request: Request,
    caller: Caller,
    form: Annotated[ProfileForm, Form()],
    doorman: Annotated[Doorman, Depends(_doorman)],
) -> Response:
    """The name is free to change; another email, by which one signs in, asks for the password."""
    try:
        if service.clean_email(form.email) != caller.email:
            await _check_own_password(request, caller, form.current, doorman)
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.change_profile, session, caller.user_id, form.name, form.email)
    except (Invalid, Conflict, TooMany) as refusal:
        return await run_in_threadpool(_account_again, request, caller, refusal, form)
    return redirect(request, "/account", _("Saved."))


async def _check_own_password(request: Request, caller: Principal, password: str, doorman: Doorman) -> None:
    """Raises Invalid at the field, and TooMany."""
    address = request.client.host if request.client else "unknown"
    try:
        await run_in_threadpool(doorman.check, caller.email, password, address)
    except Invalid:
        sentence = _("That is not your current password.")
        raise Invalid(sentence, {"current": _("Not your current password.")}) from None


@router.post("/account/password")
async def change_password(
    request: Request,
    caller: Caller,
    form: Annotated[PasswordForm, Form()],
    doorman: Annotated[Doorman, Depends(_doorman)],
) -> Response:
    try:
        await _check_own_password(request, caller, form.current, doorman)
        password_hash = await run_in_threadpool(hash_new_password, form.password, caller.name, caller.email)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_account_again, request, caller, refusal)
    async with write_turn(get_engine(request)) as session:
        await run_in_threadpool(service.change_password, session, caller.user_id, password_hash)
    return await _enter(request, caller.user_id, "/account", _("Your password is changed. Every other browser is signed out."))


def _account_again(request: Request, caller: Principal, refusal: Refusal, profile: ProfileForm | None = None) -> Response:
    with read_session(get_engine(request)) as session:
        return _account(request, session, caller, refusal, profile)


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
