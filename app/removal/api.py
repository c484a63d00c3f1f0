"""The end of a project over the API: archive, restore, delete, and what deleting would take."""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.database.engine import Db, WriteDb
from app.projects.service import get_project
from app.removal import archive, deletion
from app.removal.bodies import ArchivedReply, ConsequencesReply, Deletion
from app.settings import Settings
from app.web.security import Caller

router = APIRouter(tags=["projects"])


@router.post("/projects/{slug}/archive")
def archive_project(session: WriteDb, caller: Caller, slug: str) -> ArchivedReply:
    """Puts it away: not in lists, nobody is asked, its runs are cancelled, everything is kept."""
    project = get_project(session, slug)
    archive.archive(session, project, caller.user_id)
    return ArchivedReply.model_validate(project)


@router.post("/projects/{slug}/restore")
def restore_project(session: WriteDb, caller: Caller, slug: str) -> ArchivedReply:
    """Brings it back as it was."""
    project = get_project(session, slug)
    archive.restore(session, project, caller.user_id)
    return ArchivedReply.model_validate(project)


@router.get("/projects/{slug}/consequences")
def show_consequences(request: Request, session: Db, slug: str) -> ConsequencesReply:
    """What deleting this project would take."""
    settings: Settings = request.app.state.settings
    return ConsequencesReply.model_validate(deletion.consequences(session, settings.data.resolve(), get_project(session, slug)))


@router.delete("/projects/{slug}", status_code=202)
def delete_project(request: Request, session: WriteDb, caller: Caller, slug: str, body: Deletion) -> ConsequencesReply:
    """For good: from now on nobody sees it, and the worker removes its rows and files. The reply says what that takes."""
    settings: Settings = request.app.state.settings
    project = get_project(session, slug)
    taken = deletion.delete_project(session, settings.data.resolve(), project, body.name, caller.user_id)
    return ConsequencesReply.model_validate(taken)
