"""Pages: home, and a project's overview."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.db import Db
from app.gate import CurrentProjectId
from app.models import Project
from app.pages import render
from app.projects import overview, service
from app.rounds import story
from app.security import Caller

router = APIRouter()
MOST_PROJECTS = 200


@router.get("/")
def home(request: Request, session: Db, caller: Caller) -> Response:
    """The person's projects; with a single one, that project."""
    projects = service.list_projects(session, None if caller.is_owner else caller.user_id, limit=MOST_PROJECTS)
    if len(projects) == 1:
        return RedirectResponse(f"/projects/{projects[0].slug}", status_code=303)
    return render(request, "projects/home.html", projects=projects)


@router.get("/projects/{slug}")
def show_overview(request: Request, session: Db, caller: Caller, project_id: CurrentProjectId) -> Response:
    """For those who steer the project; annotators go on to their work."""
    project = session.get_one(Project, project_id)
    if caller.role == "annotator" and not caller.is_owner:
        return RedirectResponse(f"/projects/{project.slug}/annotate", status_code=303)
    seen = overview.project_overview(session, project)
    return render(
        request,
        "projects/overview.html",
        project=project,
        seen=seen,
        rewards=story.checkpoints_by_id(session, (round_.reward_id for round_ in seen.rounds)),
    )
