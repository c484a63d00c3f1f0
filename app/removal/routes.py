"""Pages: archiving and deleting a project, what either does said first, and the projects that were put away."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.language.languages import _
from app.models import Project
from app.projects.service import get_project
from app.removal import archive, deletion
from app.removal.api import Counted, data_of
from app.removal.deletion import Consequences
from app.web.forms import Submitted
from app.web.gate import CurrentProject
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()


@router.get("/projects/archived")
def list_archived(request: Request, session: Db, caller: Caller) -> Response:
    projects = archive.archived_projects(session, None if caller.is_owner else caller.user_id)
    return render(request, "removal/archived.html", projects=projects)


@router.get("/projects/{slug}/settings/removal")
def show_removal(request: Request, project: CurrentProject, taken: Counted) -> Response:
    return _page(request, project, taken)


@router.post("/projects/{slug}/archive")
def archive_project(request: Request, session: WriteDb, caller: Caller, slug: str) -> Response:
    project = get_project(session, slug)
    archive.archive(session, project, caller.user_id)
    return redirect(request, f"/projects/{slug}/settings/removal", _("%(name)s is archived.", name=project.name))


@router.post("/projects/{slug}/restore")
def restore_project(request: Request, session: WriteDb, caller: Caller, slug: str) -> Response:
    project = get_project(session, slug)
    archive.restore(session, project, caller.user_id)
    return redirect(request, f"/projects/{slug}", _("%(name)s is back.", name=project.name))


@router.post("/projects/{slug}/deletion")
def delete_project(request: Request, taken: Counted, session: WriteDb, caller: Caller, slug: str, words: Submitted) -> Response:
    project = get_project(session, slug)
    name = project.name
    try:
        deletion.delete_project(session, data_of(request), project, words.get("name", ""), caller.user_id, taken)
    except Refusal as refusal:
        return _page(request, project, taken, refusal)
    return redirect(request, "/", _("%(name)s is deleted. The worker removes its files in the next minutes.", name=name))


def _page(request: Request, project: Project, taken: Consequences, refusal: Refusal | None = None) -> Response:
    return render(
        request,
        "removal/removal.html",
        status=refusal.status if refusal else 200,
        project=project,
        taken=taken,
        refusal=refusal,
    )
