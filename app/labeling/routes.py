"""Pages for annotators, and their verdicts as plain forms. The scripts of these pages send the same verdicts over the API."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from app.db import Db, get_engine, read_session
from app.errors import Gone, NotFound, Refusal
from app.gate import CurrentProject, CurrentProjectId
from app.group_commit import Writes
from app.labeling import claim, forms, guideline_routes, label_routes, lease, record, service
from app.labeling.api import INTERFACES, TaskId, lease_time
from app.labeling.claim import ServedTask
from app.labeling.guidelines import guideline
from app.models import Project, utc_now
from app.pages import redirect, render
from app.reading import render_markdown
from app.schemas import MAX_ID
from app.security import Caller, Principal

router = APIRouter()
router.include_router(label_routes.router)
router.include_router(guideline_routes.router)


async def task_to_show(
    request: Request,
    caller: Caller,
    project_id: CurrentProjectId,
    writes: Writes,
    task: Annotated[int | None, Query(ge=1, le=MAX_ID, description="open this one again")] = None,
) -> ServedTask | None:
    """The next task, or the one this person wants to look at again."""
    if task is not None:
        return await run_in_threadpool(_reopened, request, project_id, caller.user_id, task)
    take = partial(claim.claim_next, project_id=project_id, annotator_id=caller.user_id, now=utc_now(), lease=lease_time(request))
    return await writes.run(take)


def _reopened(request: Request, project_id: int, annotator_id: int, task_id: int) -> ServedTask:
    with read_session(get_engine(request)) as session:
        found = claim.reopen(session.connection(), project_id, annotator_id, task_id)
    if found is None:
        raise NotFound("This task was never given to you.")
    return found


ToShow = Annotated[ServedTask | None, Depends(task_to_show)]


@router.get("/projects/{slug}/annotate")
def annotate(request: Request, task: ToShow, project: CurrentProject, caller: Caller, session: Db) -> Response:
    if task is None:
        return _empty_page(request, project, caller, session)
    given = service.my_label(session, task.id, caller.user_id)
    return _task_page(request, task, project, caller, session, forms.values_of(given))


async def submitted(request: Request) -> FormData:
    """The form, read before anything else is done."""
    return await request.form()


Submitted = Annotated[FormData, Depends(submitted)]


@router.post("/tasks/{id}/label")
async def label(
    request: Request, task_id: TaskId, form: Submitted, project: CurrentProject, caller: Caller, writes: Writes
) -> Response:
    try:
        verdict = forms.verdict_of(form)
        store = partial(
            record.record_label,
            task_id=task_id,
            annotator_id=caller.user_id,
            verdict=verdict,
            interface=INTERFACES[caller.via],
            now=utc_now(),
        )
        await writes.run(store)
    except NotFound:
        raise
    except Refusal as refusal:
        return await run_in_threadpool(_refused, request, task_id, project, caller, form, refusal)
    return redirect(request, f"/projects/{project.slug}/annotate")


@router.post("/tasks/{id}/skip")
async def skip(request: Request, task_id: TaskId, project: CurrentProject, caller: Caller, writes: Writes) -> Response:
    await writes.run(partial(lease.skip, task_id=task_id, annotator_id=caller.user_id, reason="", now=utc_now()))
    return redirect(request, f"/projects/{project.slug}/annotate")


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
            raise Gone("This task is no longer there. Nothing was saved.") from refusal
        return _task_page(request, task, project, caller, session, forms.values_again(form), refusal)


def _task_page(
    request: Request,
    task: ServedTask,
    project: Project,
    caller: Principal,
    session: Session,
    values: Mapping[str, Any],
    refusal: Refusal | None = None,
) -> Response:
    given = service.my_label(session, task.id, caller.user_id)
    return render(
        request,
        f"labeling/{task.kind}.html",
        status=refusal.status if refusal else 200,
        task=task,
        again=given is not None,
        values=values,
        refusal=refusal,
        client_id=str(uuid.uuid4()),
        flags=project.flags,
        lease_s=int(lease_time(request).total_seconds()),
        **_surroundings(project, caller, session),
    )


def _empty_page(request: Request, project: Project, caller: Principal, session: Session) -> Response:
    return render(
        request,
        "labeling/empty.html",
        waiting=service.waiting(session, project),
        **_surroundings(project, caller, session),
    )


def _surroundings(project: Project, caller: Principal, session: Session) -> dict[str, Any]:
    """What stands around every task: progress, the last verdicts, the guidelines."""
    return {
        "project": project,
        "progress": service.progress(session, project.id, caller.user_id),
        "verdicts": service.last_verdicts(session, project.id, caller.user_id),
        "guidelines": render_markdown(guideline(session, project).text),
    }
