"""Pages: an admin writes practice tasks, and lets a member in without practice."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Path, Query, Request
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.database.taking_turns import hold
from app.errors import Conflict, Refusal
from app.language.languages import N_, _, known
from app.models import PracticeTask, Project
from app.practice import authoring, service
from app.practice.authoring import PracticeTaskValues
from app.practice.routes import PracticeId
from app.texts.diff import changed_lines
from app.web.forms import SEEN, Words, edit_of, refuse_clashes, seen_of
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, FormBody, Text
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

Kind = Literal["comparison", "rating"]

VERDICTS = {"left": N_("A is better"), "right": N_("B is better"), "tie": N_("Tie"), "both_bad": N_("Both bad")}


class TaskForm(FormBody):
    kind: Text = "comparison"
    prompt: Text = ""
    left: Text = ""
    right: Text = ""
    choice: Text = ""
    overall: Text = ""
    explanation: Text = ""
    seen: Text = ""


TaskFields = Annotated[TaskForm, Form()]


@router.get("/projects/{slug}/settings/practice/new")
def new_practice_task(request: Request, project: CurrentProject, kind: Annotated[Kind, Query()] = "comparison") -> Response:
    return _form(request, project, TaskForm(kind=kind), None)


@router.post("/projects/{slug}/settings/practice/new")
def add_practice_task(request: Request, project: CurrentProject, caller: Caller, session: WriteDb, form: TaskFields) -> Response:
    try:
        authoring.add_task(session, project, _values(form, []), caller.user_id)
    except Refusal as refusal:
        return _form(request, project, form, None, refusal)
    return redirect(request, _list(project), _("The practice task is there."))


@router.get("/projects/{slug}/settings/practice/{id}")
def edit_practice_task(request: Request, project: CurrentProject, session: Db, practice_id: PracticeId) -> Response:
    task = service.get_task(session, project.id, practice_id)
    return _form(request, project, _fields(task), task)


@router.post("/projects/{slug}/settings/practice/{id}")
def change_practice_task(
    request: Request, project: CurrentProject, caller: Caller, session: WriteDb, practice_id: PracticeId, form: TaskFields
) -> Response:
    task = service.get_task(session, project.id, practice_id)
    hold(session, task)  # two saves take turns, on PostgreSQL too
    edit = edit_of(_words(form), _words(_fields(task)))
    form = TaskForm(**edit.shown)
    try:
        refuse_clashes(edit, lambda name, text: known(VERDICTS.get(text, text)) if name == "choice" else text)
        authoring.change_task(session, task, _values(form, task.messages[:-1]), caller.user_id)
    except Refusal as refusal:
        session.expire(task)
        return _form(request, project, form, task, refusal)
    return redirect(request, _list(project), _("Saved. Answers given before keep their result."))


@router.post("/projects/{slug}/settings/practice/{id}/archive")
def archive_practice_task(
    request: Request, project: CurrentProject, caller: Caller, session: WriteDb, practice_id: PracticeId
) -> Response:
    authoring.put_away(session, service.get_task(session, project.id, practice_id), caller.user_id)
    return redirect(request, _list(project), _("Put away. Nobody meets it any more."))


@router.post("/projects/{slug}/settings/practice/{id}/restore")
def restore_practice_task(
    request: Request, project: CurrentProject, caller: Caller, session: WriteDb, practice_id: PracticeId
) -> Response:
    authoring.put_away(session, service.get_task(session, project.id, practice_id), caller.user_id, back=True)
    return redirect(request, _list(project), _("In use again."))


@router.post("/projects/{slug}/people/{id}/admission")
def admit_member(
    request: Request, project: CurrentProject, session: WriteDb, user_id: Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
) -> Response:
    service.admit(session, project.id, user_id)
    return redirect(request, _list(project), _("Real tasks are open to them now."))


def _list(project: Project) -> str:
    return f"/projects/{project.slug}/settings/practice"


def _form(
    request: Request, project: Project, form: TaskForm, task: PracticeTask | None, refusal: Refusal | None = None
) -> Response:
    errors = refusal.fields if refusal else {}
    return render(
        request,
        "practice/authored_task.html",
        status=refusal.status if refusal else 200,
        project=project,
        form=form,
        task=task,
        seen=seen_of(_words(_fields(task))) if task else "",
        lines=changed_lines(_as_text(_fields(task)), _as_text(form)) if task and isinstance(refusal, Conflict) else (),
        refusal=refusal,
        errors={"prompt" if name == "messages" else name: sentence for name, sentence in errors.items()},
    )


def _fields(task: PracticeTask) -> TaskForm:
    return TaskForm(
        kind=task.kind,
        prompt=task.messages[-1]["content"],
        left=task.left_text,
        right=task.right_text or "",
        choice=task.choice or "",
        overall=str(task.overall or ""),
        explanation=task.explanation,
    )


def _as_text(form: TaskForm) -> str:
    """The form line by line, to compare it with what is stored."""
    verdict = known(VERDICTS.get(form.choice, form.choice)) if form.kind == "comparison" else form.overall
    return "\n\n".join(filter(None, [form.prompt, form.left, form.right, verdict, form.explanation])).replace("\r\n", "\n")


def _words(form: TaskForm) -> Words:
    return form.model_dump(exclude={"seen"}) | ({SEEN: form.seen} if form.seen else {})


def _values(form: TaskForm, before: list[dict[str, str]]) -> PracticeTaskValues:
    """What the form says; `before` are the turns of a longer conversation, which came over the API and stay."""
    return {
        "kind": form.kind,
        "messages": [*before, {"role": "user", "content": form.prompt.replace("\r\n", "\n")}],
        "left": form.left.replace("\r\n", "\n"),
        "right": form.right.replace("\r\n", "\n"),
        "choice": form.choice or None,
        "overall": int(form.overall) if form.overall in ("1", "2", "3", "4", "5") else None,
        "explanation": form.explanation.replace("\r\n", "\n"),
    }
