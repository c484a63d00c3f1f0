"""Pages: everybody who has an account, for the owner: deactivating them, and handing the ownership on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from starlette.responses import Response

from app.accounts.forms import RequirementForm
from app.accounts.installation import service
from app.accounts.second_factor import service as second_factor
from app.database.engine import Db, WriteDb
from app.language.languages import _
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
PAGE = 50


@router.get("/people")
def everybody_page(
    request: Request,
    session: Db,
    find: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Response:
    found = service.list_everybody(session, find, before, PAGE + 1)
    shown = found[:PAGE]
    return render(
        request,
        "accounts/everybody.html",
        people=shown,
        second_factor_required=second_factor.admins_need_it(session),
        find=find,
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
    )


@router.post("/people/second-factor")
def require_second_factor(
    request: Request, session: WriteDb, caller: Caller, form: Annotated[RequirementForm, Form()]
) -> Response:
    second_factor.require_of_admins(session, form.required, caller)
    return redirect(request, "/people", _("Saved."))


@router.post("/people/{id}/second-factor/removal")
def turn_second_factor_off(request: Request, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    second_factor.turn_off(session, user_id, caller.user_id)
    return redirect(request, "/people", _("Their second factor is off. They can set up another."))


@router.post("/people/{id}/deactivation")
def deactivate(request: Request, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.deactivate(session, user_id, caller.user_id)
    return redirect(request, "/people", _("They are deactivated. Their labels stay."))


@router.post("/people/{id}/reactivation")
def reactivate(request: Request, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.reactivate(session, user_id, caller.user_id)
    return redirect(request, "/people", _("They may sign in again. Keys and invitations of theirs stay ended."))


@router.post("/people/{id}/ownership")
def give_ownership(request: Request, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.give_ownership(session, user_id, caller.user_id)
    return redirect(request, "/people", _("They own this installation, too."))


@router.post("/people/{id}/ownership/end")
def take_ownership(request: Request, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.take_ownership(session, user_id, caller.user_id)
    return redirect(request, "/" if user_id == caller.user_id else "/people", _("They are an owner no more."))
