"""Page: the queue explained. Admins only: whoever annotates must not know which tasks check them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.engine import Db
from app.queue.explained.service import LOOKED_AT, explain
from app.web.gate import CurrentProject
from app.web.pages import render

router = APIRouter()


@router.get("/projects/{slug}/queue")
def show_queue(request: Request, session: Db, project: CurrentProject) -> Response:
    place = f"/projects/{project.slug}/agreement"
    return render(
        request, "queue/explained.html", project=project, place=place, queue=explain(session, project.id), most=LOOKED_AT
    )
