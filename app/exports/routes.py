"""Pages: downloading what people said."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.engine import Db, get_engine
from app.exports import service
from app.exports.api import Asked, export_response
from app.language.languages import _
from app.web.gate import CurrentProject
from app.web.pages import redirect, render

router = APIRouter()


@router.get("/projects/{slug}/export")
def show_export(request: Request, project: CurrentProject, session: Db) -> Response:
    return render(request, "exports/show.html", project=project, verdicts=service.count_labels(session, project.id))


@router.get("/projects/{slug}/export/file")
def download_export(request: Request, project: CurrentProject, session: Db, query: Asked) -> Response:
    export = service.prepare_export(session, project, query)
    if not service.has_rows(get_engine(request), export):
        said = _("No label makes a row of what you asked for, so there is no file.")
        return redirect(request, f"/projects/{project.slug}/export", said)
    return export_response(request, export)
