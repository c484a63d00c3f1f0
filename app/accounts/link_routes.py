"""Pages behind links that let somebody in: invitations, and password links."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import invitations, password_links
from app.accounts.forms import AcceptForm, NewPasswordForm
from app.accounts.sign_in.dependencies import CurrentDoorman, CurrentHashing, enter
from app.accounts.sign_in.passwords import hash_new_password
from app.accounts.who_is_out import LeftOpen, left_open
from app.database.engine import Db, get_engine, read_session, write_turn
from app.errors import Conflict, Invalid, Refusal, TooMany
from app.language.languages import _
from app.web.pages import redirect, render
from app.web.security import current_principal

router = APIRouter()

Token = Annotated[str, Path(max_length=200)]


# Invitations


@router.get("/invitations/{token}")
def invitation_page(request: Request, session: Db, token: Token) -> Response:
    return _invitation(request, invitations.read_offer(session, token), AcceptForm())


@router.post("/invitations/{token}")
async def accept_invitation(
    request: Request, token: Token, form: Annotated[AcceptForm, Form()], doorman: CurrentDoorman, hashing: CurrentHashing
) -> Response:
    """A signed-in person joins as they are; anyone else makes an account first."""
    principal = current_principal(request)
    if principal is not None:
        await run_in_threadpool(_offer, request, token)  # before anybody else has to wait for the writing
        async with write_turn(get_engine(request)) as session:
            offer = await run_in_threadpool(invitations.accept_as, session, token, principal.user_id)
        return redirect(request, _home_of(offer), _("You are in."))
    try:
        await run_in_threadpool(_check_offer, request, token, form)  # before what costs
        doorman.knock(token)
        password_hash = await hashing.run(hash_new_password, form.password, form.name, form.email)
        async with write_turn(get_engine(request)) as session:
            offer = await run_in_threadpool(invitations.read_offer, session, token)
            user_id = await run_in_threadpool(invitations.accept_as_new, session, token, form.name, form.email, password_hash)
    except (Invalid, Conflict, TooMany) as refusal:
        return await run_in_threadpool(_invitation_again, request, token, form, refusal)
    return await enter(request, user_id, _home_of(offer), _welcome(offer))


def _invitation_again(request: Request, token: str, form: AcceptForm, refusal: Refusal) -> Response:
    return _invitation(request, _offer(request, token), form, refusal)


def _check_offer(request: Request, token: str, form: AcceptForm) -> None:
    with read_session(get_engine(request)) as session:
        invitations.check_acceptable(session, token, form.name, form.email)


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


def _welcome(offer: invitations.Offer) -> str:
    if offer.role == "annotator":
        return _("Welcome to Tastemaker. Read the guidelines before you begin: they say what makes an answer good.")
    return _("Welcome to Tastemaker.")


def _home_of(offer: invitations.Offer) -> str:
    return f"/projects/{offer.project_slug}/annotate" if offer.role == "annotator" else "/"


# Password links


@dataclass(frozen=True)
class _Holder:
    """Whose password link it is."""

    name: str
    email: str
    left_open: LeftOpen


@router.get("/password/{token}")
def password_link_page(request: Request, token: Token) -> Response:
    return _password_link(request, _holder(request, token))


@router.post("/password/{token}")
async def use_password_link(
    request: Request, token: Token, form: Annotated[NewPasswordForm, Form()], doorman: CurrentDoorman, hashing: CurrentHashing
) -> Response:
    """The password is hashed only for a link that opens: that costs."""
    holder = await run_in_threadpool(_holder, request, token)
    try:
        doorman.knock(token)
        password_hash = await hashing.run(hash_new_password, form.password, holder.name, holder.email)
    except (Invalid, TooMany) as refusal:
        return await run_in_threadpool(_password_link, request, holder, refusal)
    async with write_turn(get_engine(request)) as session:
        user_id = await run_in_threadpool(partial(password_links.use_link, session, token, password_hash, keep=form.keep))
    return await enter(request, user_id, "/", _("Your password is changed. Every other browser is signed out."))


def _holder(request: Request, token: str) -> _Holder:
    with read_session(get_engine(request)) as session:
        user = password_links.whose(session, token)
        return _Holder(user.name, user.email, left_open(session, user.id))


def _password_link(request: Request, holder: _Holder, refusal: Refusal | None = None) -> Response:
    return render(
        request,
        "accounts/password_link.html",
        status=refusal.status if refusal else 200,
        email=holder.email,
        left_open=holder.left_open,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )
