"""Tasks and labels over the API. Claiming and submitting build their replies directly: they are what everybody waits for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from app.database.engine import Db
from app.database.group_commit import Writes, write_group
from app.labels import history as labels_history
from app.labels import record
from app.labels.bodies import (
    Annotator,
    AnswerShown,
    HistoryReply,
    LabelIn,
    LabelReply,
    LeaseReply,
    Message,
    NextIn,
    PromptShown,
    ReturnIn,
    SkipIn,
    StoredReply,
    TaskReply,
)
from app.models import Label, utc_now
from app.practice.service import refuse_before_practice
from app.queue import claim, lease
from app.queue.claim import ServedTask
from app.settings import Settings
from app.web.gate import CurrentProjectId, current_project_id
from app.web.json_types import MAX_ID, Limit, Line, Page, cursor_id, json_dumps
from app.web.security import Caller, Principal, signed_in

router = APIRouter(tags=["labeling"])

TaskId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
LabelId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]

INTERFACES: Final = {"session": "page 2", "key": "api 1"}  # what a label says about where it was given
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
    task = await write_group(request).run(claiming(request, signed_in(request), project_id, besides))
    return Response(status_code=204) if task is None else _json(_task(task))


@router.post(
    "/tasks/{id}/label",
    response_model=StoredReply,
    responses={201: {"model": StoredReply, "description": "Stored"}, 200: {"description": "Stored before"}, **_REFUSALS},
    summary="Submit a verdict; sending it again changes nothing, another one becomes a new version",
)
async def submit(request: Request, task_id: TaskId, body: LabelIn) -> Response:
    author = signed_in(request)
    store = partial(
        record.record_label,
        task_id=task_id,
        annotator_id=author.user_id,
        verdict=body.verdict(),
        interface=INTERFACES[author.via],
        now=utc_now(),
    )
    stored = await write_group(request).run(store)
    reply = {
        "id": stored.id,
        "task_id": stored.task_id,
        "version": stored.version,
        "surplus": stored.surplus,
        "created_at": _moment(stored.created_at),
    }
    return _json(reply, 201 if stored.created else 200)


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
    return _json({"lease_until": _moment(await writes.run(keep))})


@router.get("/projects/{slug}/labels", summary="Labels, newest first; annotators see their own")
def list_labels(
    session: Db,
    caller: Caller,
    project_id: CurrentProjectId,
    annotator: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    kind: Literal["comparison", "rating"] | None = None,
    choice: Literal["left", "right", "tie", "both_bad"] | None = None,
    text: Line = "",
    history: Annotated[bool, Query(description="corrected versions, too")] = False,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[LabelReply]:
    mine = own_only(caller)
    wanted = labels_history.LabelFilter(mine or annotator, kind, choice, text=text, history=history)
    rows = labels_history.search_labels(session, project_id, wanted, before=cursor_id(cursor), limit=limit + 1)
    items = [_label(row.label, row.annotator, shows_reason=mine is None) for row in rows[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)


@router.get("/labels/{id}", responses={404: {"description": "No such label"}}, summary="A label with every version of it")
def show_label(session: Db, caller: Caller, label_id: LabelId) -> HistoryReply:
    mine = own_only(caller)
    found = labels_history.history(session, label_id, only_of=mine)
    versions = [_label(label, found.annotator.name, shows_reason=mine is None) for label in found.versions]
    return HistoryReply(
        label=next(version for version in versions if version.id == label_id),
        versions=versions,
        prompt=PromptShown(messages=[Message(**message) for message in found.messages]),
        left=AnswerShown(text=found.left),
        right=None if found.right is None else AnswerShown(text=found.right),
    )


def claiming(
    request: Request, caller: Principal, project_id: int, besides: frozenset[int] = frozenset()
) -> Callable[[Connection], ServedTask | None]:
    """The write that gives the caller their next task. Raises NotAllowed for somebody who has to practise first."""
    refuse_before_practice(caller.practice_due)
    return partial(
        claim.claim_next,
        project_id=project_id,
        annotator_id=caller.user_id,
        now=utc_now(),
        lease=lease_time(request),
        besides=besides,
    )


def lease_time(request: Request) -> timedelta:
    settings: Settings = request.app.state.settings
    return timedelta(minutes=settings.lease_minutes)


def own_only(caller: Principal) -> int | None:
    """The caller's id where they may see nobody else's verdicts; none for reviewers, admins and the owner."""
    return None if caller.is_owner or caller.role in ("reviewer", "admin") else caller.user_id


def _task(task: ServedTask) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": task.id,
        "kind": task.kind,
        "lease_until": _moment(task.lease_until),
        "prompt": {"messages": task.messages},
    }
    if task.kind == "comparison":
        shown |= {"left": {"text": task.left}, "right": {"text": task.right}}
    else:
        shown["response"] = {"text": task.left}
    return shown | {"criteria": task.criteria, "guideline_version": task.guideline_version}


def _label(label: Label, annotator: str, *, shows_reason: bool) -> LabelReply:
    fields = {name: getattr(label, name) for name in LabelReply.model_fields if name not in ("annotator", "served_reason")}
    return LabelReply(
        **fields,
        annotator=Annotator(id=label.annotator_id, name=annotator),
        served_reason=label.served_reason if shows_reason else None,
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json_dumps(body), status, media_type="application/json")
