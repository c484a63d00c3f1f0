"""Page: prompts that people wrote in talks, for an admin to take into use or to leave."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.language.languages import _
from app.prompts import proposals
from app.prompts.api import PromptId
from app.web.gate import CurrentProject
from app.web.json_types import cursor_id
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PAGE_ROWS = 50


@router.get("/projects/{slug}/prompts/proposed")
def show_proposed(
    request: Request, project: CurrentProject, session: Db, cursor: Annotated[str | None, Query(max_length=40)] = None
) -> Response:
    here = _place(project.slug)
    found = proposals.list_waiting(session, project.id, after=cursor_id(cursor) or 0, limit=PAGE_ROWS + 1)
    return render(
        request,
        "prompts/proposed.html",
        project=project,
        place=f"/projects/{project.slug}/prompts",
        proposals=found[:PAGE_ROWS],
        next_url=f"{here}?cursor={found[PAGE_ROWS - 1].id}" if len(found) > PAGE_ROWS else "",
        first_url=here if cursor else "",
    )


@router.post("/prompts/{id}/acceptance")
def accept_prompt(request: Request, project: CurrentProject, caller: Caller, session: WriteDb, prompt_id: PromptId) -> Response:
    proposals.decide(session, prompt_id, caller.user_id, accepted=True)
    return redirect(request, _place(project.slug), _("In use: models answer it from now on."))


@router.post("/prompts/{id}/refusal")
def refuse_prompt(request: Request, project: CurrentProject, caller: Caller, session: WriteDb, prompt_id: PromptId) -> Response:
    proposals.decide(session, prompt_id, caller.user_id, accepted=False)
    return redirect(request, _place(project.slug), _("Left put away. What was judged of it stays."))


def _place(slug: str) -> str:
    return f"/projects/{slug}/prompts/proposed"
