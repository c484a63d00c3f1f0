"""Pages: home, and a project's overview."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.database.engine import Db
from app.disk.pruning import forecast
from app.disk.usage import usage
from app.evaluation.alarm import alarmed_rounds
from app.labels import history
from app.models import Project, utc_now
from app.overview import service
from app.overview.next_step import next_step
from app.projects.service import list_projects
from app.quality.gold.pausing import paused_people
from app.queue.task_requests import kept_from_caller
from app.removal.archive import archived_projects
from app.runs.checkpoints import checkpoints_by_id
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.pages import render
from app.web.security import Caller

router = APIRouter()
MOST_PROJECTS = 200
FORETOLD: Final = timedelta(days=30)  # said so in the template, too


@router.get("/")
def home(request: Request, session: Db, caller: Caller) -> Response:
    """The person's projects; with a single one, that project, unless others are put away."""
    mine = None if caller.is_owner else caller.user_id
    projects = list_projects(session, mine, limit=MOST_PROJECTS)
    archived = archived_projects(session, mine)
    if len(projects) == 1 and not archived:
        return RedirectResponse(f"/projects/{projects[0].slug}", status_code=303)
    return render(request, "overview/home.html", projects=projects, archived=len(archived))


@router.get("/projects/{slug}")
def show_overview(request: Request, session: Db, caller: Caller, project_id: CurrentProjectId) -> Response:
    """For those who steer the project; annotators go on to their work."""
    project = session.get_one(Project, project_id)
    if caller.role == "annotator" and not caller.is_owner:
        return RedirectResponse(f"/projects/{project.slug}/annotate", status_code=303)
    settings: Settings = request.app.state.settings
    disk = usage(session, project, settings.data)
    seen = service.project_overview(session, project, None if caller.is_owner else caller.user_id)
    return render(
        request,
        "overview/overview.html",
        project=project,
        seen=seen,
        step=next_step(
            seen,
            can_admin=caller.is_owner or caller.role == "admin",
            open_to_me=history.progress(session, project.id, caller.user_id, kept_from_caller(caller)).left,
        ),
        paused=paused_people(session, project.id),
        alarmed=alarmed_rounds(session, [round_.id for round_ in seen.rounds]),
        disk=disk,
        could_go=forecast(session, settings.data, project, utc_now() - FORETOLD) if disk.ends_soon else 0,
        rewards=checkpoints_by_id(session, (round_.reward_id for round_ in seen.rounds)),
    )
