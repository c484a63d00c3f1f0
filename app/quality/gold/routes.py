"""Page: known answers and repeats, and how often they are asked. Admins only: whoever annotates must not know."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import NotFound, Refusal
from app.language.languages import N_, _
from app.models import Project
from app.projects.service import update_project
from app.quality.gold import service as gold
from app.quality.gold.forms import GoldForm, SharesForm
from app.web.forms import labelled, share_of
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

GoldId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
LABELS = {
    "repeat_share": N_("Share of repeats"),
    "gold_share": N_("Share of known answers"),
    "gold_pauses": N_("Pause who misses too many"),
}


@router.get("/projects/{slug}/gold")
def show_gold(
    request: Request,
    session: Db,
    project_id: CurrentProjectId,
    task: Annotated[int | None, Query(ge=1, le=MAX_ID, description="say of this one what is right")] = None,
) -> Response:
    return _page(request, session, session.get_one(Project, project_id), task)


def _page(
    request: Request, session: Session, project: Project, task_id: int | None = None, refusal: Refusal | None = None
) -> Response:
    errors = refusal.fields if refusal else {}
    return render(
        request,
        "quality/gold.html",
        status=refusal.status if refusal else 200,
        project=project,
        refusal=refusal,
        errors=errors,
        summary={name: labelled(name, sentence, LABELS) for name, sentence in errors.items() if name in LABELS},
        known=gold.known_answers(session, project.id),
        asked=None if task_id is None else gold.asked(session, project.id, task_id),
        unanimous=gold.unanimous(session, project.id),
    )


@router.post("/projects/{slug}/gold")
def add_gold(
    request: Request, project_id: CurrentProjectId, session: WriteDb, caller: Caller, form: Annotated[GoldForm, Form()]
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        if form.verdict:
            overall = int(form.verdict) if form.verdict.isdigit() else None
            gold.author(session, project, form.task, None if overall else form.verdict, overall, caller.user_id)
        else:
            gold.promote(session, project, form.task, caller.user_id)
    except NotFound:
        raise
    except Refusal as refusal:
        return _page(request, session, project, form.task if form.verdict else None, refusal)
    return redirect(request, f"/projects/{project.slug}/gold", _("It is asked now and then, among the other tasks."))


@router.post("/projects/{slug}/gold/settings")
def save_shares(
    request: Request, project_id: CurrentProjectId, session: WriteDb, caller: Caller, form: Annotated[SharesForm, Form()]
) -> Response:
    project = session.get_one(Project, project_id)
    shares = {"repeat_share": share_of(form.repeat_share), "gold_share": share_of(form.gold_share)}
    try:
        update_project(session, project, {**shares, "gold_pauses": form.gold_pauses}, caller.user_id)  # type: ignore[typeddict-item]
    except Refusal as refusal:
        return _page(request, session, project, refusal=refusal)
    return redirect(request, f"/projects/{project.slug}/gold", _("Saved."))


@router.post("/projects/{slug}/gold/{id}/retirement")
def retire_gold(request: Request, project_id: CurrentProjectId, session: WriteDb, caller: Caller, gold_id: GoldId) -> Response:
    project = session.get_one(Project, project_id)
    gold.retire(session, project, gold_id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/gold", _("It is asked no more. What was said to it still counts."))


@router.post("/projects/{slug}/gold/{id}/return")
def use_gold_again(request: Request, project_id: CurrentProjectId, session: WriteDb, caller: Caller, gold_id: GoldId) -> Response:
    project = session.get_one(Project, project_id)
    gold.use_again(session, project, gold_id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/gold", _("It is asked again."))
