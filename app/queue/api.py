"""Tasks over the API: claiming, skipping, giving back, renewing. A claim builds its reply directly: everybody waits for it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.database.group_commit import Writes
from app.models import utc_now
from app.queue import lease
from app.queue.bodies import LeaseReply, NextIn, ReturnIn, SkipIn, TaskReply
from app.queue.claim import ServedTask
from app.queue.task_requests import TaskId, claimed, lease_time
from app.web.gate import current_project_id
from app.web.json_types import json_reply, moment_text
from app.web.security import Caller, signed_in

router = APIRouter(tags=["tasks"])

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "Never given to you"},
    409: {"description": "Clashes with what is stored"},
}


@router.post(
    "/projects/{slug}/tasks/next",
    response_model=TaskReply,
    responses={204: {"description": "No task right now"}},
    summary="Claim a seat: the task held already, or the oldest one open to the caller",
)
async def next_task(request: Request, body: NextIn | None = None) -> Response:
    # Here and in `submit`, which make up the load, nothing is asked for through the framework: that costs a tenth of a cycle.
    besides = frozenset(body.besides) if body else frozenset()
    project_id = await current_project_id(request)
    task = await claimed(request, signed_in(request), project_id, besides)
    return Response(status_code=204) if task is None else json_reply(_task(task))


@router.post("/tasks/{id}/skip", status_code=204, responses=_REFUSALS, summary="Give the seat back; not asked again")
async def skip(task_id: TaskId, body: SkipIn, caller: Caller, writes: Writes) -> Response:
    await writes.run(partial(lease.skip, task_id=task_id, annotator_id=caller.user_id, reason=body.reason, now=utc_now()))
    return Response(status_code=204)


@router.post(
    "/tasks/{id}/return",
    status_code=204,
    responses={409: {"description": "Another lease: nothing was given back"}},
    summary="Give a seat back unused; the task may come again",
)
async def give_back(task_id: TaskId, body: ReturnIn, caller: Caller, writes: Writes) -> Response:
    free = partial(lease.give_back, task_id=task_id, annotator_id=caller.user_id, lease_until=body.lease_until, now=utc_now())
    await writes.run(free)
    return Response(status_code=204)


@router.post("/tasks/{id}/renew", response_model=LeaseReply, responses=_REFUSALS, summary="Keep the task a while longer")
async def renew(request: Request, task_id: TaskId, caller: Caller, writes: Writes) -> Response:
    keep = partial(lease.renew, task_id=task_id, annotator_id=caller.user_id, now=utc_now(), lease=lease_time(request))
    return json_reply({"lease_until": moment_text(await writes.run(keep))})


def _task(task: ServedTask) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": task.id,
        "kind": task.kind,
        "lease_until": moment_text(task.lease_until),
        "prompt": {"messages": task.messages},
    }
    if task.kind == "comparison":
        shown |= {"left": _answer(task.left, task.left_cut), "right": _answer(task.right, task.right_cut)}
    elif task.kind == "ranking":
        shown["answers"] = [_answer(text, cut) for text, cut in task.answers]
    else:
        shown["response"] = _answer(task.left, task.left_cut)
    asked = {"criteria": task.criteria, "rubric": task.rubric, "span_reasons": task.span_reasons}
    return shown | asked | {"guideline_version": task.guideline_version}


def _answer(text: str | None, is_cut: bool) -> dict[str, Any]:
    return {"text": text, "cut": is_cut}
