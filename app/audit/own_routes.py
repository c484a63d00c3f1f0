"""Page: what happened to one's own account: sign-ins, failed ones too, keys, roles, passwords; whoever did it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.accounts.service import names_of
from app.audit.sentences import action_words, detail_pairs
from app.database.audit import entries_about
from app.database.engine import Db
from app.web.json_types import MAX_ID
from app.web.pages import render
from app.web.security import Caller

router = APIRouter()

PAGE = 50


@router.get("/account/events")
def events_page(
    request: Request, session: Db, caller: Caller, before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None
) -> Response:
    found = entries_about(session, caller.user_id, before=before, limit=PAGE + 1)
    shown = found[:PAGE]
    return render(
        request,
        "audit/events.html",
        entries=[(entry, action_words(entry.action), detail_pairs(entry.action, entry.details)) for entry in shown],
        names=names_of(session, (entry.actor_id for entry in shown)),
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
    )
