"""Page: a person's own work in a project."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.db import Db
from app.gate import CurrentProject
from app.pages import render
from app.projects.work import DAYS, ENOUGH_TASKS, work_of
from app.security import Caller
from app.settings import Settings

router = APIRouter()


@router.get("/projects/{slug}/work")
def show_work(request: Request, project: CurrentProject, caller: Caller, session: Db) -> Response:
    settings: Settings = request.app.state.settings
    return render(
        request,
        "projects/work.html",
        project=project,
        work=work_of(session, project, caller.user_id, settings.runs),
        enough=ENOUGH_TASKS,
        days=DAYS,
    )
