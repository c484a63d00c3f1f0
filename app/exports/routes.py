"""Pages: downloading what people said."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.engine import Db
from app.exports import service
from app.exports.api import Asked, export_response
from app.web.gate import CurrentProject
from app.web.pages import render

router = APIRouter()


@router.get("/projects/{slug}/export")
def show_export(request: Request, project: CurrentProject, session: Db) -> Response:
    return render(request, "exports/show.html", project=project, verdicts=service.count_labels(session, project.id))


@router.get("/projects/{slug}/export/file")
def download_export(request: Request, project: CurrentProject, session: Db, query: Asked) -> Response:
    return export_response(request, service.prepare_export(session, project, query))
