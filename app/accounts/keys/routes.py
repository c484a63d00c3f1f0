"""Page: one's own API keys, and those of others that one may end."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.accounts.forms import KeyForm
from app.accounts.keys import service as keys
from app.accounts.service import get_user
from app.database.engine import Db, WriteDb
from app.errors import Invalid
from app.language.languages import _
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller, Principal

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


@router.get("/account/keys")
def keys_page(request: Request, session: Db, caller: Caller) -> Response:
    return _page(request, session, caller)


@router.post("/account/keys")
def make_key(request: Request, session: WriteDb, caller: Caller, form: Annotated[KeyForm, Form()]) -> Response:
    bound = form.projects if form.where == "some" else None
    try:
        _key, secret = keys.make_key(session, caller.user_id, form.scopes, form.days, caller, form.name, bound)
    except Invalid as refusal:
        return _page(request, session, caller, form=form, refusal=refusal)
    return _page(request, session, caller, secret=secret)


def _page(
    request: Request,
    session: Session,
    caller: Principal,
    *,
    secret: str = "",
    form: KeyForm | None = None,
    refusal: Invalid | None = None,
) -> Response:
    return render(
        request,
        "accounts/keys.html",
        status=422 if refusal else 201 if secret else 200,
        keys=keys.list_keys(session, caller),
        others=keys.list_keys(session, caller, "others"),
        projects=session.scalars(keys.projects_for(get_user(session, caller.user_id))).all(),
        form=form or KeyForm(),
        secret=secret,
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


@router.post("/account/keys/{id}/revocation")
def revoke_key(request: Request, session: WriteDb, caller: Caller, key_id: Id) -> Response:
    keys.revoke_key(session, key_id, caller)
    return redirect(request, "/account/keys", _("The key is revoked."))
