"""Pages: practising before real tasks. Guidelines first, then task by task, each explained once it is answered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Invalid, Refusal
from app.guidelines.service import told_text
from app.guidelines.starting_point import told
from app.labels.forms import values_of
from app.models import PracticeTask, Project
from app.practice import service
from app.practice.service import Standing
from app.queue.claim import ServedTask
from app.texts.safe_html import render_markdown
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, FormBody, Line
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PracticeId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


class AnswerForm(FormBody):
    choice: Line = ""
    overall: Line = ""


@router.get("/projects/{slug}/practice")
def show_practice(request: Request, project: CurrentProject, caller: Caller, session: Db) -> Response:
    """Where one stands: the guidelines before the first task, the result after the last one."""
    now = service.standing(session, project, caller.user_id)
    if now.passed or not now.total:
        return redirect(request, f"/projects/{project.slug}/annotate")
    return render(
        request,
        "practice/practice.html",
        project=project,
        now=now,
        guidelines=render_markdown(told_text(session, project)),
    )


@router.get("/projects/{slug}/practice/task")
def practice_task(request: Request, project: CurrentProject, caller: Caller, session: Db) -> Response:
    now = service.standing(session, project, caller.user_id)
    task = service.next_task(session, project, caller.user_id, again=True)
    if task is None:
        return redirect(request, f"/projects/{project.slug}/practice")
    return _task_page(request, session, project, task, now)


@router.post("/projects/{slug}/practice/{id}/verdict")
def answer_practice(
    request: Request,
    practice_id: PracticeId,
    project: CurrentProject,
    caller: Caller,
    session: WriteDb,
    form: Annotated[AnswerForm, Form()],
) -> Response:
    score = int(form.overall) if form.overall in ("1", "2", "3", "4", "5") else None
    try:
        service.answer(session, project, caller.user_id, practice_id, choice=form.choice or None, overall=score)
    except Invalid as refusal:
        task = service.get_task(session, project.id, practice_id)
        return _task_page(request, session, project, task, service.standing(session, project, caller.user_id), refusal)
    return redirect(request, f"/projects/{project.slug}/practice/{practice_id}")


@router.get("/projects/{slug}/practice/{id}")
def explain_practice(request: Request, practice_id: PracticeId, project: CurrentProject, caller: Caller, session: Db) -> Response:
    """What one said, what is right, and why. Before an answer there is no explanation to read."""
    task = service.get_task(session, project.id, practice_id)
    verdict = service.verdict_of(session, caller.user_id, practice_id)
    if verdict is None:
        return redirect(request, f"/projects/{project.slug}/practice")
    return render(
        request,
        "practice/explained.html",
        project=project,
        place=f"/projects/{project.slug}/annotate",
        task=task,
        verdict=verdict,
        explanation=render_markdown(task.explanation),
        now=service.standing(session, project, caller.user_id),
    )


def _task_page(
    request: Request, session: Session, project: Project, task: PracticeTask, now: Standing, refusal: Refusal | None = None
) -> Response:
    shown = ServedTask(
        task.id,
        task.kind,
        None,
        task.messages,
        task.left_text,
        task.right_text,
        told(project.criteria),
        project.guideline_version,
    )
    begun_again = now.is_over
    return render(
        request,
        "practice/task.html",
        status=refusal.status if refusal else 200,
        project=project,
        place=f"/projects/{project.slug}/annotate",
        task=shown,
        submits_to=f"/projects/{project.slug}/practice/{task.id}/verdict",
        number=1 if begun_again else now.done + 1,
        total=now.total,
        opened="",
        values=values_of(None),
        refusal=refusal,
        client_id="",
        flags=told(project.flags),
        skip_reasons=(),
        verdicts=(),
        guidelines=render_markdown(told_text(session, project)),
    )
