"""Page: what a project's prompts cover. Who annotates must not know who wins."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.coverage.service import coverage_of
from app.database.engine import Db
from app.quality.measures.figure import ENOUGH
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.pages import render
from trainer.contract.coverage.clusters import FEWEST_PROMPTS

router = APIRouter()


@router.get("/projects/{slug}/prompts/coverage")
def show_coverage(request: Request, session: Db, project: CurrentProject) -> Response:
    settings: Settings = request.app.state.settings
    return render(
        request,
        "coverage/coverage.html",
        project=project,
        place=f"/projects/{project.slug}/prompts",
        covered=coverage_of(session, project, settings.runs),
        enough=ENOUGH,
        fewest=FEWEST_PROMPTS,
    )
