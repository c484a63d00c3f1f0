"""The audit trail over the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts.service import names_of
from app.database.audit import entries, entries_about
from app.database.engine import Db
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Limit, Page, Reply, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["audit"])

Cursor = Annotated[str | None, Query(max_length=40)]
Thing = Annotated[str, Query(max_length=40, description="Only actions on this: policy, round, run, project, role, ...")]
Actor = Annotated[int | None, Query(ge=1, le=MAX_ID)]


class EntryReply(Reply):
    id: int
    at: datetime
    actor_id: int | None = Field(description="None: the machine itself, or somebody who was not signed in.")
    actor: str
    action: str = Field(description="The thing, then the verb: `policy.promoted`.")
    subject: str
    details: dict[str, Any]
    project_id: int | None


class OwnEntryReply(Reply):
    id: int
    at: datetime
    actor: str = Field(description="Empty of somebody who was not signed in: a sign-in that failed.")
    action: str
    details: dict[str, Any]


@router.get("/projects/{slug}/audit", summary="Who did what in the project, the newest first")
def project_audit(
    session: Db,
    project_id: CurrentProjectId,
    thing: Thing = "",
    actor: Actor = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[EntryReply]:
    return _page(session, project_id, thing, actor, cursor, limit)


@router.get("/audit", summary="Who did what in the whole installation, the newest first; for its owner")
def installation_audit(
    session: Db, thing: Thing = "", actor: Actor = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[EntryReply]:
    return _page(session, None, thing, actor, cursor, limit)


@router.get("/users/me/events", summary="What happened to one's own account, the newest first")
def own_events(session: Db, caller: Caller, cursor: Cursor = None, limit: Limit = 50) -> Page[OwnEntryReply]:
    found = entries_about(session, caller.user_id, before=cursor_id(cursor), limit=limit + 1)
    names = names_of(session, (entry.actor_id for entry in found))
    items = [
        OwnEntryReply(
            id=entry.id, at=entry.at, actor=names.get(entry.actor_id or 0, ""), action=entry.action, details=entry.details
        )
        for entry in found[:limit]
    ]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


def _page(
    session: Session, project_id: int | None, thing: str, actor: int | None, cursor: str | None, limit: int
) -> Page[EntryReply]:
    found = entries(session, project_id, thing=thing, actor_id=actor, before=cursor_id(cursor), limit=limit + 1)
    names = names_of(session, (entry.actor_id for entry in found))
    items = [
        EntryReply(
            id=entry.id,
            at=entry.at,
            actor_id=entry.actor_id,
            actor=names.get(entry.actor_id or 0, ""),
            action=entry.action,
            subject=entry.subject,
            details=entry.details,
            project_id=entry.project_id,
        )
        for entry in found[:limit]
    ]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)
