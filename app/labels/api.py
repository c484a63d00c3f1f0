"""Labels over the API. Submitting builds its reply directly: it is what everybody waits for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from app.database.engine import Db
from app.database.group_commit import Writes, write_group
from app.labels import history, record, search, withdraw
from app.labels.bodies import (
    Annotator,
    HistoryReply,
    LabelIn,
    LabelReply,
    RankingSaid,
    StoredReply,
    WaitingReply,
    WithdrawIn,
)
from app.labels.empty_desk import waiting
from app.labels.verdict import Verdict
from app.models import Label, Project, last_midnight, utc_now
from app.queue.bodies import AnswerShown, Message, PromptShown
from app.queue.task_requests import TaskId
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Limit, Line, Moment, Page, cursor_id, json_reply, moment_text
from app.web.security import Caller, Principal, signed_in

router = APIRouter(tags=["labels"])

LabelId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]

Before = Annotated[int | None, Query(ge=1, le=MAX_ID, description="versions older than this one")]

INTERFACES: Final = {"session": "page 3", "key": "api 1"}  # what a label says about where it was given
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "Never given to you"},
    409: {"description": "Clashes with what is stored"},
}


@router.post(
    "/tasks/{id}/label",
    response_model=StoredReply,
    responses={201: {"model": StoredReply, "description": "Stored"}, 200: {"description": "Stored before"}, **_REFUSALS},
    summary="Submit a verdict; sending it again changes nothing, another one becomes a new version",
)
async def submit(request: Request, task_id: TaskId, body: LabelIn) -> Response:
    """A new version says all there is to say: what it leaves out, of flags, marks or the rubric, is not said any more.

    Words that were retired since may be said again.
    """
    author = signed_in(request)
    return _stored(await write_group(request).run(storing(task_id, author, body.verdict())))


@router.post(
    "/tasks/{id}/withdraw",
    response_model=StoredReply,
    responses={201: {"model": StoredReply, "description": "Withdrawn"}, 200: {"description": "Withdrawn before"}, **_REFUSALS},
    summary="Take one's verdict back: a new version, after which none is in force",
)
async def withdraw_verdict(task_id: TaskId, body: WithdrawIn, caller: Caller, writes: Writes) -> Response:
    return _stored(await writes.run(withdrawing(task_id, caller, body.client_id.lower())))


@router.get("/projects/{slug}/waiting", summary="Why there is no task now, and when to come back")
def why_nothing(session: Db, caller: Caller, project_id: CurrentProjectId) -> WaitingReply:
    """For somebody whom `tasks/next` had nothing for."""
    return WaitingReply.model_validate(waiting(session, session.get_one(Project, project_id), paused=caller.paused))


@router.get("/projects/{slug}/labels", summary="Labels, newest first; annotators see their own")
def list_labels(
    session: Db,
    caller: Caller,
    project_id: CurrentProjectId,
    annotator: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    kind: Literal["comparison", "rating", "ranking"] | None = None,
    choice: Literal["left", "right", "tie", "both_bad"] | None = None,
    text: Line = "",
    with_versions: Annotated[bool, Query(alias="history", description="corrected versions, too")] = False,
    prompt: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    flag: Annotated[str, Query(pattern=r"^([a-z][a-z0-9_]{0,39})?$", description="the key of a flag on an answer")] = "",
    commented: bool = False,
    since: Annotated[Moment | None, Query(description="given at this moment or later")] = None,
    until: Annotated[Moment | None, Query(description="given before this moment")] = None,
    disputed: Annotated[bool, Query(description="somebody else said otherwise; for reviewers and admins")] = False,
    withdrawn: Annotated[bool, Query(description="verdicts that were taken back, alone")] = False,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[LabelReply]:
    mine = own_only(caller)
    wanted = search.LabelFilter(
        annotator_id=mine or annotator,
        kind=kind,
        choice=choice,
        text=text,
        history=with_versions,
        prompt_id=prompt,
        flag=flag,
        commented=commented,
        since=since,
        until=until,
        disputed=disputed and mine is None,  # nobody learns here what others said of their task
        withdrawn=withdrawn,
    )
    wanted = search.with_tasks(session, project_id, wanted)
    rows = search.search_labels(session, project_id, wanted, before=cursor_id(cursor), limit=limit + 1)
    items = [_label(row.label, row.annotator, caller) for row in rows[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)


@router.get("/labels/{id}", responses={404: {"description": "No such label"}}, summary="A label with the versions of it")
def show_label(session: Db, caller: Caller, label_id: LabelId, before: Before = None) -> HistoryReply:
    mine = own_only(caller)
    found = history.history(session, label_id, only_of=mine, before=before)
    versions = [_label(label, found.annotator.name, caller) for label in found.versions]
    return HistoryReply(
        label=_label(found.label, found.annotator.name, caller),
        versions=versions,
        older=found.older,
        prompt=PromptShown(messages=[Message(**message) for message in found.messages]),
        left=AnswerShown(text=found.left, cut=found.left_cut),
        right=None if found.right is None else AnswerShown(text=found.right, cut=found.right_cut),
        answers=[AnswerShown(text=text, cut=cut) for text, cut in found.answers],
    )


def storing(task_id: int, author: Principal, verdict: Verdict) -> Callable[[Connection], record.Stored]:
    """The write that stores the author's verdict on the task."""
    return partial(
        record.record_label,
        task_id=task_id,
        annotator_id=author.user_id,
        verdict=verdict,
        interface=INTERFACES[author.via],
        now=utc_now(),
    )


def withdrawing(task_id: int, caller: Principal, client_id: str) -> Callable[[Connection], record.Stored]:
    """The write that takes the caller's verdict on the task back."""
    return partial(
        withdraw.withdraw,
        task_id=task_id,
        annotator_id=caller.user_id,
        client_id=client_id,
        interface=INTERFACES[caller.via],
        now=utc_now(),
    )


def own_only(caller: Principal) -> int | None:
    """The caller's id where they may see nobody else's verdicts; none for reviewers, admins and the owner."""
    return None if caller.is_owner or caller.role in ("reviewer", "admin") else caller.user_id


def _stored(stored: record.Stored) -> Response:
    reply = {
        "id": stored.id,
        "task_id": stored.task_id,
        "version": stored.version,
        "surplus": stored.surplus,
        "created_at": moment_text(stored.created_at),
    }
    return json_reply(reply, 201 if stored.created else 200)


CHECKS: Final = ("gold", "repeat")


def reason_told(caller: Principal, label: Label) -> str | None:
    """Why it was asked, as far as they may know; of their own verdicts not on the same day, so that nobody puts a check right.

    That something was a check is told to admins alone: whoever else sees other people's labels is asked the same known answers.
    """
    own_of_today = label.annotator_id == caller.user_id and label.created_at >= last_midnight()
    if own_only(caller) is not None or own_of_today:
        return None
    is_admin = caller.is_owner or caller.role == "admin"
    return "random" if label.served_reason in CHECKS and not is_admin else label.served_reason


OWN_WORDS: Final = ("annotator", "served_reason", "ranking")


def _label(label: Label, annotator: str, caller: Principal) -> LabelReply:
    fields = {name: getattr(label, name) for name in LabelReply.model_fields if name not in OWN_WORDS}
    return LabelReply(
        **fields,
        ranking=None if label.ranking is None else RankingSaid.model_validate(label.ranking),
        annotator=Annotator(id=label.annotator_id, name=annotator),
        served_reason=reason_told(caller, label),
    )
