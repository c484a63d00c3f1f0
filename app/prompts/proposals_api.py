"""Prompts that people wrote in talks over the API: those that wait for an admin, and what becomes of each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from app.database.engine import Db, WriteDb
from app.prompts import proposals
from app.prompts.api import PromptId, PromptReply
from app.web.gate import CurrentProjectId
from app.web.json_types import Limit, Page, Reply, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["prompts"])


class ProposalReply(Reply):
    prompt: PromptReply
    author: str
    created_at: datetime


@router.get("/projects/{slug}/prompts/proposed")
def list_proposed(
    session: Db,
    project_id: CurrentProjectId,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Page[ProposalReply]:
    """Prompts that people wrote in talks and nobody has decided on, the oldest first."""
    found = proposals.list_waiting(session, project_id, after=cursor_id(cursor) or 0, limit=limit + 1)
    items = [ProposalReply.model_validate(one) for one in found[:limit]]
    return Page(items=items, next_cursor=str(found[limit - 1].id) if len(found) > limit else None)


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "Nobody proposed it"},
    409: {"description": "It was decided otherwise"},
}


@router.post("/prompts/{id}/accept", responses=_REFUSALS)
def accept_prompt(session: WriteDb, caller: Caller, prompt_id: PromptId) -> PromptReply:
    """Take a proposed prompt into use: from now on models answer it."""
    return PromptReply.model_validate(proposals.decide(session, prompt_id, caller.user_id, accepted=True))


@router.post("/prompts/{id}/refuse", responses=_REFUSALS)
def refuse_prompt(session: WriteDb, caller: Caller, prompt_id: PromptId) -> PromptReply:
    """Leave a proposed prompt put away. The labels about it stay and count."""
    return PromptReply.model_validate(proposals.decide(session, prompt_id, caller.user_id, accepted=False))
