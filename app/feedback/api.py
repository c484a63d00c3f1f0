"""Feedback over the API: what waits for an admin, and what becomes of each."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query

from app.database.engine import Db, WriteDb
from app.feedback import service
from app.feedback.bodies import DecidedReply, FeedbackReply
from app.models import utc_now
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Limit, Page, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["feedback"])

FeedbackId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "No such feedback"},
    409: {"description": "Decided otherwise, taken back, or given without consent"},
}


@router.get("/projects/{slug}/feedback")
def list_feedback(
    session: Db,
    project_id: CurrentProjectId,
    limit: Annotated[Limit, Query()] = 50,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Page[FeedbackReply]:
    """Thumbs and corrections from use that nobody has decided on, the oldest first."""
    found = service.list_waiting(session, project_id, after=cursor_id(cursor) or 0, limit=limit + 1)
    items = [_reply(one) for one in found[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


@router.post("/projects/{slug}/feedback/{id}/accept", responses=_REFUSALS)
def accept_feedback(session: WriteDb, caller: Caller, project_id: CurrentProjectId, feedback_id: FeedbackId) -> DecidedReply:
    """Let it in: from now on it is a label, which trains and counts as any other."""
    decided = service.decide(session, project_id, feedback_id, caller.user_id, accepted=True, now=utc_now())
    return DecidedReply.model_validate(decided)


@router.post("/projects/{slug}/feedback/{id}/refuse", responses=_REFUSALS)
def refuse_feedback(session: WriteDb, caller: Caller, project_id: CurrentProjectId, feedback_id: FeedbackId) -> DecidedReply:
    """Leave it: it stays, and nothing learns from it."""
    decided = service.decide(session, project_id, feedback_id, caller.user_id, accepted=False, now=utc_now())
    return DecidedReply.model_validate(decided)


def _reply(one: service.Waiting) -> FeedbackReply:
    names = ("id", "thumb", "messages", "text", "correction", "comment", "policy_id", "created_at")
    found = {name: getattr(one.feedback, name) for name in names}
    more = {"kept": one.feedback.answer_id is not None, "policy": one.policy, "coded_policy": one.policy, "giver": one.giver}
    return FeedbackReply.model_validate(found | more)
