"""Page: a project's contenders. Admins pick models outside there, and have them answer."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.contenders import service
from app.contenders.outside import service as outside
from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.language.languages import _
from app.models import Project
from app.runs.bodies import PathId
from app.runs.runs import queue_run
from app.web.forms import Submitted, Words, number_of
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PAGE: Final = 50
Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]


@router.get("/projects/{slug}/contenders")
def show_contenders(request: Request, session: Db, project_id: CurrentProjectId, before: Before = None) -> Response:
    return _page(request, session, project_id, before=before)


@router.post("/projects/{slug}/contenders")
def pick(
    request: Request,
    session: WriteDb,
    caller: Caller,
    project_id: CurrentProjectId,
    outside: Annotated[int, Form(ge=1, le=MAX_ID)],
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        made = service.name_outside(session, project, outside, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project_id, refusal=refusal)
    return redirect(request, _place(project), _("%(name)s is a contender now. Have it answer.", name=made.name))


@router.post("/projects/{slug}/contenders/answers")
def ask(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId, words: Submitted) -> Response:
    """Have a model outside answer prompts: a run of the worker's."""
    project = session.get_one(Project, project_id)
    inputs = {"contender": number_of(words.get("contender", "")), "split": words.get("split", "train")}
    try:
        run = queue_run(session, project, "ask", {"per_prompt": number_of(words.get("per_prompt", ""))}, inputs, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project_id, words, refusal)
    return redirect(request, f"/runs/{run.id}", _("The run is queued."))


@router.post("/projects/{slug}/contenders/{id}/archive")
def archive(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId, id: PathId) -> Response:
    project = session.get_one(Project, project_id)
    found = service.put_away(session, project, id, caller.user_id)
    return redirect(request, _place(project), _("%(name)s is put away. What it answered stays.", name=found.name))


@router.post("/projects/{slug}/contenders/{id}/restore")
def restore(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId, id: PathId) -> Response:
    project = session.get_one(Project, project_id)
    found = service.bring_back(session, project, id, caller.user_id)
    return redirect(request, _place(project), _("%(name)s is a contender again.", name=found.name))


def _place(project: Project) -> str:
    return f"/projects/{project.slug}/contenders"


def _page(
    request: Request,
    session: Session,
    project_id: int,
    words: Words | None = None,
    refusal: Refusal | None = None,
    before: int | None = None,
) -> Response:
    project = session.get_one(Project, project_id)
    found = service.list_contenders(session, project_id, before, PAGE + 1)
    shown = found[:PAGE]
    models = {model.id: model for model in outside.list_models(session, archived=True)}
    picked = service.picked_models(session, project_id)
    asked: dict[str, Any] = {"contender": "", "split": "train", "per_prompt": "1"}
    return render(
        request,
        "contenders/list.html",
        status=refusal.status if refusal else 200,
        project=project,
        contenders=shown,
        called=service.names(session, [one.id for one in shown]),
        models=models,
        pickable=[(one.id, one.name) for one in models.values() if one.archived_at is None and one.id not in picked],
        asked=asked | (words or {}),
        refusal=refusal,
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
        place=f"/projects/{project.slug}/leaderboard",
    )
