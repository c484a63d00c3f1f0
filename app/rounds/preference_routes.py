"""The page that trains a policy on what people judged, without a reward model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.language import formats
from app.language.languages import _, known
from app.models import Project
from app.rounds import service
from app.runs import checkpoints
from app.runs.run_order import worker_standing
from app.runs.usable_labels import usable_by_method, usable_label_count
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller
from trainer.contract.config import PreferenceConfig
from trainer.contract.setting import settings_of

router = APIRouter()

METHOD = settings_of(PreferenceConfig)["method"]


@router.get("/projects/{slug}/preference")
def new_preference(request: Request, session: Db, project_id: CurrentProjectId) -> Response:
    return _page(request, session, project_id)


@router.post("/projects/{slug}/preference")
def start_preference(
    request: Request,
    session: WriteDb,
    caller: Caller,
    project_id: CurrentProjectId,
    method: Annotated[str, Form(max_length=30)] = METHOD.default,
    start: Annotated[int | None, Form(ge=1, le=MAX_ID)] = None,
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        run = service.queue_run(session, project, "preference", {"method": method}, {"start": start}, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project_id, method, start, refusal)
    return redirect(request, f"/runs/{run.id}", _("The run is queued."))


def _page(
    request: Request,
    session: Session,
    project_id: int,
    method: str | None = None,
    start: int | None = None,
    refusal: Refusal | None = None,
) -> Response:
    """Without a `method`, the one that is chosen is the first that has labels to learn from, the default before others."""
    project = session.get_one(Project, project_id)
    counts = usable_by_method(session, project_id)
    return render(
        request,
        "rounds/preference.html",
        status=refusal.status if refusal else 200,
        project=project,
        refusal=refusal,
        labels=usable_label_count(session, project_id),
        methods=[
            (name, formats.noted(known(words), formats.count(counts[name], "label"))) for name, words in METHOD.choices.items()
        ],
        method_help=known(METHOD.help),
        policies=checkpoints.starting_policies(session, project),
        method=method or next((name for name in (METHOD.default, *METHOD.choices) if counts[name]), METHOD.default),
        start=start or project.policy_id,
        worker=worker_standing(session),
        place=f"/projects/{project.slug}/rounds",
    )
