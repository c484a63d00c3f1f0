"""Contenders over the API: what answers prompts and can be compared. Who annotates must not know who wrote what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.contenders import service
from app.contenders.bodies import ContenderReply, NewContender, contender_replies
from app.database.engine import Db, WriteDb
from app.models import Project
from app.runs.bodies import Cursor, PathId, page_of
from app.web.gate import CurrentProjectId
from app.web.json_types import Limit, Page, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["evaluations"])


@router.get("/projects/{slug}/contenders")
def list_contenders(
    session: Db, project_id: CurrentProjectId, limit: Annotated[Limit, Query()] = 50, cursor: Cursor = None
) -> Page[ContenderReply]:
    """The newest first. One of ours is there once it has answered, or was named."""
    found = service.list_contenders(session, project_id, cursor_id(cursor), limit + 1)
    return page_of(contender_replies(session, found), limit)


@router.post("/projects/{slug}/contenders", status_code=201)
def add_contender(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: NewContender) -> ContenderReply:
    """Name one that is to be compared. One that is there already is the answer, too."""
    project = session.get_one(Project, project_id)
    if body.name is not None:
        made = service.name_stranger(session, project, body.name, caller.user_id)
    elif body.outside is not None:
        made = service.name_outside(session, project, body.outside, caller.user_id)
    else:
        made = service.name_ours(session, project, body.checkpoint, body.best_of, body.reward)
    return contender_replies(session, [made])[0]


@router.delete("/projects/{slug}/contenders/{id}", summary="Put one of others away: asked nothing more, in no further evaluation")
def put_away(session: WriteDb, caller: Caller, project_id: CurrentProjectId, id: PathId) -> ContenderReply:
    """What it answered and what people said of it stay; an evaluation that goes on goes on. Twice is once."""
    found = service.put_away(session, session.get_one(Project, project_id), id, caller.user_id)
    return contender_replies(session, [found])[0]


@router.post("/projects/{slug}/contenders/{id}/restore", summary="Bring back one that was put away")
def bring_back(session: WriteDb, caller: Caller, project_id: CurrentProjectId, id: PathId) -> ContenderReply:
    found = service.bring_back(session, session.get_one(Project, project_id), id, caller.user_id)
    return contender_replies(session, [found])[0]
