"""Page: one's own API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import Response

from app.accounts.forms import KeyForm
from app.accounts.keys import service as keys
from app.database.engine import Db, WriteDb
from app.errors import Invalid
from app.language.languages import _
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


@router.get("/account/keys")
def keys_page(request: Request, session: Db, caller: Caller) -> Response:
    return render(request, "accounts/keys.html", keys=keys.keys_of(session, caller.user_id), secret="", problem="", errors={})


@router.post("/account/keys")
def make_key(request: Request, session: WriteDb, caller: Caller, form: Annotated[KeyForm, Form()]) -> Response:
    secret, problem = "", ""
    errors: dict[str, str] = {}
    try:
        _key, secret = keys.make_key(session, caller.user_id, form.scopes, form.days, caller, form.name)
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
