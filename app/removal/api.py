"""The end of a project over the API: archive, restore, delete, and what deleting would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.database.engine import WriteDb, get_engine, read_session
from app.projects.service import get_project
from app.removal import archive, deletion
from app.removal.bodies import ArchivedReply, ConsequencesReply, Deletion
from app.removal.deletion import Consequences
from app.settings import Settings
from app.web.gate import CurrentProject
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


def data_of(request: Request) -> Path:
    settings: Settings = request.app.state.settings
    return settings.data.resolve()


def counted(request: Request, project: CurrentProject) -> Consequences:
    """What deleting the project takes, counted before the transaction that deletes it begins."""
    with read_session(get_engine(request)) as session:
        return deletion.consequences(session, data_of(request), project)


Counted = Annotated[Consequences, Depends(counted)]


@router.get("/projects/{slug}/consequences")
def show_consequences(taken: Counted) -> ConsequencesReply:
    """What deleting this project would take."""
    return ConsequencesReply.model_validate(taken)


@router.delete("/projects/{slug}", status_code=202)
def delete_project(
    request: Request, taken: Counted, session: WriteDb, caller: Caller, slug: str, body: Deletion
) -> ConsequencesReply:
    """For good: from now on nobody sees it, and the worker removes its rows and files. The reply says what that takes."""
    project = get_project(session, slug)
    deletion.delete_project(session, data_of(request), project, body.name, caller.user_id, taken)
    return ConsequencesReply.model_validate(taken)
