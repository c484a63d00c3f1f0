"""What people differ on, over the API: for reviewers, and for whoever said what was sent back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.labels.bodies import LabelIn, StoredReply
from app.models import Project
from app.quality.adjudication import doubts, service
from app.quality.adjudication.service import Case, Listed, Said
from app.queue.bodies import AnswerShown, Message, PromptShown
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Body, Id, Limit, Page, Reply, Text, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["quality"])

DisputeId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
Words = Annotated[Text, Field(min_length=1, max_length=2000)]
State = Literal["open", "asking", "doubted", "settled"]
INTERFACE = "review api 1"
CLASHES: dict[int | str, dict[str, Any]] = {409: {"description": "Settled, changed or agreed on meanwhile; or judged by oneself"}}


class DisputeReply(Reply):
    id: int
    task_id: int
    kind: Literal["comparison", "rating"]
    state: str = Field(
        description="open: waits for a reviewer; asking: for another person; doubted: for whom it was sent back to"
    )
    prompt: PromptShown
    verdicts: int = Field(description="in force")
    mine: bool = Field(description="the caller is one of those who differ, so somebody else settles it")
    created_at: datetime
    settled_at: datetime | None


class DoubtReply(Reply):
    id: int
    comment: str
    answer: str
    created_at: datetime
    closed_at: datetime | None = Field(description="answered, changed or settled")


class SaidReply(Reply):
    """One verdict, on the sides on which the caller sees the answers; nothing names its person."""

    label_id: int
    choice: str | None
    strength: int | None
    overall: int | None
    criteria: dict[str, Any]
    flags: dict[str, list[str]]
    rubric: dict[str, dict[str, str | int]]
    spans: dict[str, Any] | None = Field(description="as a label has it, on the sides on which you see the answers")
    rewrite: dict[str, str] | None
    comment: str
    earlier: int = Field(description="versions before this one")
    doubts: list[DoubtReply]


class CaseReply(DisputeReply):
    left: AnswerShown
    right: AnswerShown | None
    criteria: list[dict[str, Any]]
    rubric: list[dict[str, Any]]
    span_reasons: list[dict[str, Any]]
    said: list[SaidReply]
    kept_back: bool = Field(
        description="another person is asked now, who may be the caller: what people said is given once they have answered"
    )


class DoubtIn(Body):
    label_id: Id
    comment: Words


class AnswerIn(Body):
    answer: Words


class BackReply(DoubtReply):
    task_id: int
    label_id: int
    prompt: PromptShown


class BacksReply(Reply):
    items: list[BackReply]


@router.get("/projects/{slug}/disputes", summary="What people differ on, the oldest first, blind to names")
def list_disputes(
    session: Db, caller: Caller, project_id: CurrentProjectId, state: State = "open", cursor: str | None = None, limit: Limit = 50
) -> Page[DisputeReply]:
    rows = service.disputes(session, project_id, state, caller.user_id, after=cursor_id(cursor), limit=limit + 1)
    items = [DisputeReply(**_listed(row)) for row in rows[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)


@router.get("/projects/{slug}/disputes/{id}", summary="One of them: the answers, and what people said of them")
def show_dispute(session: Db, caller: Caller, project_id: CurrentProjectId, dispute_id: DisputeId) -> CaseReply:
    return _case(service.case(session, session.get_one(Project, project_id), dispute_id, caller.user_id))


@router.post(
    "/projects/{slug}/disputes/{id}/settlement",
    responses=CLASHES,
    summary="Settle it: this verdict is what training learns of the task; `comment` says why",
)
def settle(session: WriteDb, caller: Caller, project_id: CurrentProjectId, dispute_id: DisputeId, body: LabelIn) -> StoredReply:
    project = session.get_one(Project, project_id)
    return StoredReply.model_validate(
        service.settle(session, project, dispute_id, caller.user_id, body.verdict(), interface=INTERFACE)
    )


@router.post(
    "/projects/{slug}/disputes/{id}/doubts", status_code=201, responses=CLASHES, summary="Send a verdict back to its person"
)
def send_back(session: WriteDb, caller: Caller, project_id: CurrentProjectId, dispute_id: DisputeId, body: DoubtIn) -> DoubtReply:
    project = session.get_one(Project, project_id)
    return DoubtReply.model_validate(service.send_back(session, project, dispute_id, body.label_id, body.comment, caller.user_id))


@router.get("/projects/{slug}/doubts", summary="The caller's own verdicts that a reviewer sent back")
def list_doubts(session: Db, caller: Caller, project_id: CurrentProjectId) -> BacksReply:
    return BacksReply(
        items=[
            BackReply(
                **DoubtReply.model_validate(back.doubt).model_dump(),
                task_id=back.label.task_id,
                label_id=back.label.id,
                prompt=_prompt(back.messages),
            )
            for back in doubts.sent_back(session, project_id, caller.user_id)
        ]
    )


@router.post("/projects/{slug}/doubts/{id}/answer", status_code=204, responses=CLASHES, summary="Keep the verdict and say why")
def answer(session: WriteDb, caller: Caller, project_id: CurrentProjectId, doubt_id: DisputeId, body: AnswerIn) -> Response:
    doubts.answer(session, project_id, doubt_id, caller.user_id, body.answer)
    return Response(status_code=204)


def _listed(row: Listed) -> dict[str, Any]:
    own = {name: getattr(row.dispute, name) for name in ("id", "task_id", "state", "created_at", "settled_at")}
    return own | {"kind": row.kind, "prompt": _prompt(row.messages), "verdicts": row.verdicts, "mine": row.mine}


def _case(case: Case) -> CaseReply:
    task = case.task
    return CaseReply(
        **_listed(Listed(case.dispute, task.kind, task.messages, case.verdicts, case.mine)),
        left=AnswerShown(text=task.left, cut=task.left_cut),
        right=None if task.right is None else AnswerShown(text=task.right, cut=task.right_cut),
        criteria=task.criteria,
        rubric=[dict(item) for item in task.rubric],
        span_reasons=[dict(item) for item in task.span_reasons],
        said=[_said(one) for one in case.said],
        kept_back=case.kept_back,
    )


def _said(one: Said) -> SaidReply:
    fields = {name: getattr(one, name) for name in SaidReply.model_fields if name != "doubts"}
    return SaidReply(**fields, doubts=[DoubtReply.model_validate(doubt) for doubt in one.doubts])


def _prompt(messages: list[dict[str, str]]) -> PromptShown:
    return PromptShown(messages=[Message(**message) for message in messages])
