"""Pages: a project's evaluations, one of them, and asking for one outside of rounds, a model outside among its candidates.

Who annotates must not know how one stands: it would tell them what to answer.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.contenders.service import contenders_alone, list_contenders, names
from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.evaluation import answering, service
from app.evaluation.story import tell
from app.language.languages import _
from app.models import Project, Round
from app.rounds.service import numbers_of
from app.rounds.unattended.budgets import budgets, holds_back
from app.runs.bodies import PathId
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PAGE: Final = 25
MOST_CHOICES: Final = 100  # contenders to choose from, the newest
Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]
Chosen = Annotated[int, Field(ge=1, le=MAX_ID)]


@router.get("/projects/{slug}/evaluations")
def show_evaluations(request: Request, session: Db, project_id: CurrentProjectId, before: Before = None) -> Response:
    return _page(request, session, project_id, before=before)


@router.post("/projects/{slug}/evaluations")
def start_evaluation(
    request: Request,
    session: WriteDb,
    caller: Caller,
    project_id: CurrentProjectId,
    baseline: Annotated[Chosen, Form()],
    candidates: Annotated[list[Chosen] | None, Form(max_length=8)] = None,
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        begun = answering.start(session, project, candidates or [], baseline, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project_id, refusal, baseline, candidates)
    return redirect(request, f"/evaluations/{begun.id}", _("Its contenders write their answers, then people are asked."))


@router.get("/evaluations/{id}")
def show_evaluation(request: Request, session: Db, id: PathId) -> Response:
    evaluation = service.get_evaluation(session, id)
    project = session.get_one(Project, evaluation.project_id)
    return render(
        request,
        "evaluation/evaluation.html",
        project=project,
        judged=tell(session, evaluation),
        round=session.get(Round, evaluation.round_id) if evaluation.round_id is not None else None,
        held_back=holds_back(budgets(session, project), evaluation=True),
        place=f"/projects/{project.slug}/leaderboard",
    )


@router.post("/evaluations/{id}/cancel")
def cancel_evaluation(request: Request, session: WriteDb, caller: Caller, id: PathId) -> Response:
    answering.cancel(session, service.get_evaluation(session, id), caller.user_id)
    return redirect(request, f"/evaluations/{id}", _("It is ended; the verdicts stay."))


def _page(
    request: Request,
    session: Session,
    project_id: int,
    refusal: Refusal | None = None,
    baseline: int | None = None,
    candidates: list[int] | None = None,
    before: int | None = None,
) -> Response:
    project = session.get_one(Project, project_id)
    found = service.list_evaluations(session, project_id, before, PAGE + 1)
    shown = found[:PAGE]
    compared = service.contenders_compared(session, shown)
    choices = [one.id for one in list_contenders(session, project_id, limit=MOST_CHOICES) if one.archived_at is None]
    return render(
        request,
        "evaluation/list.html",
        status=refusal.status if refusal else 200,
        project=project,
        evaluations=shown,
        compared=compared,
        rounds=numbers_of(session, [one.round_id for one in shown]),
        called=names(session, [*choices, *(one for several in compared.values() for one in several)]),
        choices=choices,
        current=contenders_alone(session, [project.policy_id or 0]).get(project.policy_id or 0),
        baseline=baseline,
        candidates=candidates or [],
        refusal=refusal,
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
        place=f"/projects/{project.slug}/leaderboard",
    )
