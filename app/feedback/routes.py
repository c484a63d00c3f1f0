"""Page: what came back from use, for an admin to let in or to leave."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.feedback import service
from app.feedback.api import FeedbackId
from app.language.languages import _
from app.models import utc_now
from app.texts.diff import changed_lines
from app.web.gate import CurrentProject
from app.web.json_types import cursor_id
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PAGE_ROWS: Final = 25


@router.get("/projects/{slug}/feedback")
def show_feedback(
    request: Request, project: CurrentProject, session: Db, cursor: Annotated[str | None, Query(max_length=40)] = None
) -> Response:
    here = f"/projects/{project.slug}/feedback"
    found = service.list_waiting(session, project.id, after=cursor_id(cursor) or 0, limit=PAGE_ROWS + 1)
    shown = found[:PAGE_ROWS]
    corrected = {one.feedback.id: (one.feedback.text or "", one.feedback.correction) for one in shown if one.feedback.correction}
    return render(
        request,
        "feedback/list.html",
        project=project,
        place=f"/projects/{project.slug}/labels",
        waiting=shown,
        changes={key: changed_lines(text, correction) for key, (text, correction) in corrected.items()},
        thumbs=service.count_thumbs(session, project.id),
        next_url=f"{here}?cursor={found[PAGE_ROWS - 1].feedback.id}" if len(found) > PAGE_ROWS else "",
        first_url=here if cursor else "",
    )


@router.post("/projects/{slug}/feedback/{id}/acceptance")
def accept_feedback(
    request: Request, project: CurrentProject, caller: Caller, session: WriteDb, feedback_id: FeedbackId
) -> Response:
    service.decide(session, project.id, feedback_id, caller.user_id, accepted=True, now=utc_now())
    return redirect(request, f"/projects/{project.slug}/feedback", _("Let in: it is a label now."))


@router.post("/projects/{slug}/feedback/{id}/refusal")
def refuse_feedback(
    request: Request, project: CurrentProject, caller: Caller, session: WriteDb, feedback_id: FeedbackId
) -> Response:
    service.decide(session, project.id, feedback_id, caller.user_id, accepted=False, now=utc_now())
    return redirect(request, f"/projects/{project.slug}/feedback", _("Left out. Nothing learns from it."))
