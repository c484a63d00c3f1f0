"""Pages: everybody who has an account, for the owner: deactivating them, and handing the ownership on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from app.accounts.installation import service
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
        find=find,
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
    )


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
