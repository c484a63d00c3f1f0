"""Page: a person's own work in a project."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.engine import Db
from app.overview.my_work import DAYS, ENOUGH_TASKS, work_of
from app.quality.adjudication.doubts import sent_back
from app.quality.steadiness import steadiness
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.pages import render
from app.web.security import Caller

router = APIRouter()


@router.get("/projects/{slug}/work")
def show_work(request: Request, project: CurrentProject, caller: Caller, session: Db) -> Response:
    settings: Settings = request.app.state.settings
    return render(
        request,
        "overview/my_work.html",
        project=project,
        work=work_of(session, project, caller.user_id, settings.runs),
        back=sent_back(session, project.id, caller.user_id),
        steady=steadiness(session, project.id, caller.user_id),
        enough=ENOUGH_TASKS,
        days=DAYS,
        is_member=caller.role is not None,
        my_languages=caller.languages,
    )
