"""Pages for annotators, and their verdicts as plain forms. The scripts of these pages send the same verdicts over the API."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from app.database.engine import Db, get_engine, read_session
from app.database.group_commit import Writes
from app.errors import Gone, NotFound, Refusal
from app.guidelines.service import told_text, untold_change
from app.labels import forms, history, words
from app.labels.api import storing, withdrawing
from app.labels.empty_desk import waiting
from app.labels.forms import Submitted
from app.labels.verdict import SKIP_REASONS
from app.language.languages import _
from app.models import Project, utc_now
from app.queue import claim, lease
from app.queue.claim import ServedTask
from app.queue.task_requests import TaskId, claimed, kept_from_caller, lease_time
from app.texts.safe_html import render_markdown
from app.web.gate import CurrentProject, CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller, Principal

router = APIRouter()


async def task_to_show(
    request: Request,
    caller: Caller,
    project_id: CurrentProjectId,
    task: Annotated[int | None, Query(ge=1, le=MAX_ID, description="open this one again")] = None,
) -> ServedTask | None:
    """The next task, or the one this person wants to look at again; none where practice comes first."""
    if task is not None:
        return await run_in_threadpool(_reopened, request, project_id, caller.user_id, task)
    if caller.practice_due:
        return None
    return await claimed(request, caller, project_id)


def _reopened(request: Request, project_id: int, annotator_id: int, task_id: int) -> ServedTask:
    with read_session(get_engine(request)) as session:
        found = claim.reopen(session.connection(), project_id, annotator_id, task_id)
    if found is None:
        raise NotFound(_("This task was never given to you."))
    return found


ToShow = Annotated[ServedTask | None, Depends(task_to_show)]


@router.get("/projects/{slug}/annotate")
def annotate(request: Request, task: ToShow, project: CurrentProject, caller: Caller, session: Db) -> Response:
    if task is None and caller.practice_due:
        return redirect(request, f"/projects/{project.slug}/practice")
    return _page(request, task, project, caller, session, _desk(task, project, caller, session))


async def task_ahead(request: Request, form: Submitted, caller: Caller, project_id: CurrentProjectId) -> ServedTask | None:
    """One more task than the page has; none for a page that only asks how things stand."""
    if form.get("wanted") != "yes":
        return None
    return await claimed(request, caller, project_id, forms.tasks_in_hand(form))


@router.post("/projects/{slug}/annotate/next")
def next_task(
    request: Request,
    task: Annotated[ServedTask | None, Depends(task_ahead)],
    form: Submitted,
    project: CurrentProject,
    caller: Caller,
    session: Db,
) -> Response:
    """The next task and what stands around it, as parts of a page: for the script that fetches ahead."""
    desk = _desk(task, project, caller, session) if form.get("wanted") == "yes" else {"desk": ""}
    return render(request, "labels/next.html", **_standing(project, caller, session, task), **desk)


@router.post("/tasks/{id}/label")
async def label(
    request: Request, task_id: TaskId, form: Submitted, project: CurrentProject, caller: Caller, writes: Writes
) -> Response:
    try:
        verdict = forms.verdict_of(form)
        await writes.run(storing(task_id, caller, verdict))
    except NotFound:
        raise
    except Refusal as refusal:
        return await run_in_threadpool(_refused, request, task_id, project, caller, form, refusal)
    return redirect(request, f"/projects/{project.slug}/annotate")


@router.post("/tasks/{id}/skip")
async def skip(
    request: Request, task_id: TaskId, form: Submitted, project: CurrentProject, caller: Caller, writes: Writes
) -> Response:
    reason = forms.skip_reason_of(form)
    await writes.run(partial(lease.skip, task_id=task_id, annotator_id=caller.user_id, reason=reason, now=utc_now()))
    return redirect(request, f"/projects/{project.slug}/annotate")


@router.post("/tasks/{id}/withdraw")
async def withdraw(
    request: Request, task_id: TaskId, form: Submitted, project: CurrentProject, caller: Caller, writes: Writes
) -> Response:
    await writes.run(withdrawing(task_id, caller, forms.client_id_of(form)))
    return redirect(request, f"/projects/{project.slug}/annotate", _("Your verdict is withdrawn. It counts nowhere any more."))


@router.post("/tasks/{id}/renew")
async def renew(request: Request, task_id: TaskId, caller: Caller, project: CurrentProject, writes: Writes) -> Response:
    keep = partial(lease.renew, task_id=task_id, annotator_id=caller.user_id, now=utc_now(), lease=lease_time(request))
    await writes.run(keep)
    return redirect(request, f"/projects/{project.slug}/annotate")


def _refused(request: Request, task_id: int, project: Project, caller: Principal, form: FormData, refusal: Refusal) -> Response:
    """The page again, as it was filled in, with what was wrong."""
    with read_session(get_engine(request)) as session:
        task = claim.reopen(session.connection(), project.id, caller.user_id, task_id)
        if task is None:
            raise Gone(_("This task is no longer there. Nothing was saved.")) from refusal
        desk = _desk(task, project, caller, session, forms.values_again(form)) | {"refusal": refusal}
        return _page(request, task, project, caller, session, desk, refusal.status)


def _page(
    request: Request,
    task: ServedTask | None,
    project: Project,
    caller: Principal,
    session: Session,
    desk: dict[str, Any],
    status: int = 200,
) -> Response:
    return render(
        request,
        "labels/annotate.html",
        status=status,
        guidelines=render_markdown(told_text(session, project)),
        news=untold_change(session, project, caller.user_id),
        lease_s=int(lease_time(request).total_seconds()),
        **_standing(project, caller, session, task),
        **desk,
    )


def _desk(
    task: ServedTask | None, project: Project, caller: Principal, session: Session, values: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the desk shows: a task, filled in as it was answered or with `values`, or why there is nothing to answer."""
    if task is None:
        return {"desk": "waiting", "waiting": waiting(session, project, paused=caller.paused)}
    given = history.my_label(session, task.id, caller.user_id)
    skipped = given is None and task.lease_until is None and history.has_skipped(session, task.id, caller.user_id)
    values = values or forms.values_of(None if given is None or given.withdrawn else given)
    return {
        "desk": task.kind,
        "task": words.on_page(task, project, values),
        "opened": ("withdrawn" if given.withdrawn else "answered") if given else "skipped" if skipped else "",
        "values": values,
        "refusal": None,
        "client_id": str(uuid.uuid4()),
        "flags": words.flags_on_page(project, values),
        "skip_reasons": SKIP_REASONS,
    }


def _standing(project: Project, caller: Principal, session: Session, task: ServedTask | None) -> dict[str, Any]:
    """What stands around every task and changes with each verdict."""
    verdicts = history.last_verdicts(session, project.id, caller.user_id)
    return {
        "project": project,
        "progress": history.progress(session, project.id, caller.user_id, kept_from_caller(caller)),
        "verdicts": verdicts,
        "before": history.verdict_before(verdicts, task.id if task else None),
    }
