"""The page that trains a policy on what people wrote: rewrites, demonstrations, plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.language.languages import _
from app.models import Project
from app.rounds import service
from app.runs import checkpoints, run_files
from app.runs.run_order import worker_standing
from app.runs.usable_labels import usable_rewrite_count
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

REWRITES = ""  # the choice on the page that is not a file


@router.get("/projects/{slug}/sft")
def new_sft(request: Request, session: Db, project_id: CurrentProjectId) -> Response:
    return _page(request, session, project_id)


@router.post("/projects/{slug}/sft")
def start_sft(
    request: Request,
    session: WriteDb,
    caller: Caller,
    project_id: CurrentProjectId,
    source: Annotated[str, Form(max_length=130)] = REWRITES,
    base: Annotated[int | None, Form(ge=1, le=MAX_ID)] = None,
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        if source != REWRITES:
            run_files.text_file(_data(request), project.slug, source)
        inputs = {"text": source or None, "rewrites": source == REWRITES, "base": base}
        run = service.queue_run(session, project, "sft", {}, inputs, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project_id, source, base, refusal)
    return redirect(request, f"/runs/{run.id}", _("The run is queued."))


def _page(
    request: Request,
    session: Session,
    project_id: int,
    source: str = REWRITES,
    base: int | None = None,
    refusal: Refusal | None = None,
) -> Response:
    project = session.get_one(Project, project_id)
    return render(
        request,
        "rounds/sft.html",
        status=refusal.status if refusal else 200,
        project=project,
        refusal=refusal,
        rewrites=usable_rewrite_count(session, project_id),
        texts=run_files.texts(_data(request), project.slug),
        policies=checkpoints.starting_policies(session, project),
        source=source,
        base=base or project.policy_id,
        worker=worker_standing(session),
        place=f"/projects/{project.slug}/rounds",
    )


def _data(request: Request) -> Path:
    settings: Settings = request.app.state.settings
    return settings.data.resolve()
