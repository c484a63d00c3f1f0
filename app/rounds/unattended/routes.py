"""The buttons of the overview that pause rounds which start by themselves, and let them start again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.engine import WriteDb
from app.language.languages import _
from app.models import Project
from app.rounds.unattended import pause
from app.web.gate import CurrentProjectId
from app.web.pages import redirect
from app.web.security import Caller

router = APIRouter()


@router.post("/projects/{slug}/pause")
def pause_rounds(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId) -> Response:
    project = session.get_one(Project, project_id)
    pause.pause(session, project, caller.user_id)
    return redirect(request, f"/projects/{project.slug}", _("No round starts by itself until you let them."))


@router.post("/projects/{slug}/resume")
def resume_rounds(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId) -> Response:
    project = session.get_one(Project, project_id)
    pause.resume(session, project, caller.user_id)
    return redirect(request, f"/projects/{project.slug}", _("Rounds start by themselves again."))
