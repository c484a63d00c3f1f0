"""Pages: what people differ on, for reviewers, and what they sent back, for whoever said it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import NotFound, Refusal
from app.guidelines.service import told_text
from app.guidelines.starting_point import told
from app.labels import forms, words
from app.labels.answers import rubric, spans
from app.labels.forms import Submitted
from app.language.languages import _
from app.models import Project
from app.models.criteria import names
from app.quality.adjudication import doubts, service
from app.quality.adjudication.forms import AnswerForm, DoubtForm
from app.texts.safe_html import render_markdown
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, cursor_id
from app.web.pages import redirect, render
from app.web.security import Caller, Principal

router = APIRouter()

DisputeId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
State = Literal["open", "asking", "doubted", "settled"]
PAGE_ROWS = 50
INTERFACE = "review 1"


@router.get("/projects/{slug}/disputes")
def show_disputes(
    request: Request,
    session: Db,
    project_id: CurrentProjectId,
    caller: Caller,
    state: State = "open",
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    found = service.disputes(session, project_id, state, caller.user_id, after=cursor_id(cursor), limit=PAGE_ROWS + 1)
    return render(
        request,
        "quality/disputes.html",
        project=session.get_one(Project, project_id),
        state=state,
        rows=found[:PAGE_ROWS],
        counts=service.count_by_state(session, project_id),
        next_open=service.next_open(session, project_id, caller.user_id),
        next_cursor=found[PAGE_ROWS - 1].dispute.id if len(found) > PAGE_ROWS else None,
    )


@router.get("/projects/{slug}/disputes/{id}")
def show_dispute(request: Request, session: Db, project_id: CurrentProjectId, caller: Caller, dispute_id: DisputeId) -> Response:
    return _page(request, session, session.get_one(Project, project_id), caller, dispute_id)


@router.post("/projects/{slug}/disputes/{id}/settlement")
def settle(
    request: Request, session: WriteDb, project_id: CurrentProjectId, caller: Caller, dispute_id: DisputeId, form: Submitted
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        service.settle(session, project, dispute_id, caller.user_id, forms.verdict_of(form), interface=INTERFACE)
    except NotFound:
        raise
    except Refusal as refusal:
        return _page(request, session, project, caller, dispute_id, refusal, forms.values_again(form))
    return _on(request, session, project, caller, _("It is settled."))


@router.post("/projects/{slug}/disputes/{id}/doubts")
def send_back(
    request: Request,
    session: WriteDb,
    project_id: CurrentProjectId,
    caller: Caller,
    dispute_id: DisputeId,
    form: Annotated[DoubtForm, Form()],
) -> Response:
    project = session.get_one(Project, project_id)
    try:
        service.send_back(session, project, dispute_id, form.label, form.comment, caller.user_id)
    except NotFound:
        raise
    except Refusal as refusal:
        return _page(request, session, project, caller, dispute_id, refusal)
    return _on(request, session, project, caller, _("It is sent back. It comes here again once they changed or answered it."))


@router.post("/projects/{slug}/doubts/{id}/answer")
def answer(
    request: Request,
    session: WriteDb,
    project_id: CurrentProjectId,
    caller: Caller,
    doubt_id: DisputeId,
    form: Annotated[AnswerForm, Form()],
) -> Response:
    doubts.answer(session, project_id, doubt_id, caller.user_id, form.answer)
    project = session.get_one(Project, project_id)
    return redirect(request, f"/projects/{project.slug}/work", _("Your answer is there. Thank you."))


def _on(request: Request, session: Session, project: Project, caller: Principal, said: str) -> Response:
    """To the next one, or to the list where none waits."""
    following = service.next_open(session, project.id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/disputes" + (f"/{following}" if following else ""), said)


def _page(
    request: Request,
    session: Session,
    project: Project,
    caller: Principal,
    dispute_id: int,
    refusal: Refusal | None = None,
    values: dict[str, Any] | None = None,
) -> Response:
    case = service.case(session, project, dispute_id, caller.user_id)
    values = values or forms.values_of(case.settled)
    return render(
        request,
        "quality/dispute.html",
        status=refusal.status if refusal else 200,
        project=project,
        case=case,
        left=service.count_by_state(session, project.id)["open"],
        later=service.next_open(session, project.id, caller.user_id, after=dispute_id),
        task=words.on_page(case.task, project, values),
        submits_to=f"/projects/{project.slug}/disputes/{dispute_id}/settlement",
        opened="answered" if case.settled else "",
        values=values,
        refusal=refusal,
        client_id=str(uuid.uuid4()),
        flags=words.flags_on_page(project, values),
        before=None,
        skip_reasons=(),
        flag_names=names(told(project.flags), told(project.retired["flags"])),
        criterion_names=names(told(project.criteria), told(project.retired["criteria"])),
        rubric={one.label_id: rubric.told(one.rubric, [*project.rubric, *project.retired["rubric"]]) for one in case.said},
        spans={
            one.label_id: spans.told(one.spans, [*project.span_reasons, *project.retired["span_reasons"]]) for one in case.said
        },
        guidelines=render_markdown(told_text(session, project)),
    )
