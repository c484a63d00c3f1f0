"""Pages: the guidelines as annotators read them, and what changed since they last did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.guidelines.service import change_between, guideline, note_seen, untold_change
from app.guidelines.starting_point import told, told_guidelines
from app.texts.safe_html import render_markdown
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, FormBody
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

VersionNumber = Annotated[int | None, Query(ge=1, le=MAX_ID)]


class SeenForm(FormBody):
    version: int = Field(ge=1, le=MAX_ID)


@router.get("/projects/{slug}/guidelines")
def show_guidelines(
    request: Request, project: CurrentProject, caller: Caller, session: Db, version: VersionNumber = None
) -> Response:
    found = guideline(session, project, version)
    before = found.version - 1
    return render(
        request,
        "guidelines/guidelines.html",
        project=project,
        guideline=found,
        criteria=told(project.criteria),
        flags=told(project.flags),
        body=render_markdown(told_guidelines(found.text)),
        change=change_between(session, project, before, found.version) if before else None,
        news=untold_change(session, project, caller.user_id),
    )


@router.post("/projects/{slug}/guidelines/seen")
def dismiss_change(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    session: WriteDb,
    form: Annotated[SeenForm, Form()],
) -> Response:
    note_seen(session, project, caller.user_id, form.version)
    return redirect(request, f"/projects/{project.slug}/annotate")
