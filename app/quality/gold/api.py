"""Known answers, pauses and withdrawals over the API. Admins only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.models import Gold, Project
from app.quality import exclusion
from app.quality.gold import pausing
from app.quality.gold import service as gold
from app.quality.gold.service import Known
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Body, Id, Line, Reply
from app.web.security import Caller

router = APIRouter(tags=["quality"])

PersonId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID, description="of a person")]
GoldId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
Choice = Literal["first", "second", "tie", "both_bad"]


class GoldIn(Body):
    task_id: Id
    choice: Choice | None = Field(None, description="What is right; with no `overall` either, what all said of the task.")
    overall: Annotated[int, Field(ge=1, le=5)] | None = Field(None, description="The same of a rating.")


class GoldReply(Reply):
    id: int
    task_id: int | None = Field(description="where its answers are compared or rated")
    choice: Choice | None
    overall: int | None
    asked: int
    created_at: datetime
    retired_at: datetime | None


class GoldsReply(Reply):
    items: list[GoldReply]


class ExclusionIn(Body):
    reason: Line = ""


@router.get("/projects/{slug}/gold", summary="Known answers, those in use first")
def list_gold(session: Db, project_id: CurrentProjectId) -> GoldsReply:
    return GoldsReply(items=[_reply(one.gold, one) for one in gold.known_answers(session, project_id)])


@router.post("/projects/{slug}/gold", status_code=201, summary="A task's answer is known: asked silently among real tasks")
def add_gold(session: WriteDb, project_id: CurrentProjectId, caller: Caller, body: GoldIn) -> GoldReply:
    project = session.get_one(Project, project_id)
    if body.choice is None and body.overall is None:
        return _reply(gold.promote(session, project, body.task_id, caller.user_id))
    return _reply(gold.author(session, project, body.task_id, body.choice, body.overall, caller.user_id))


@router.delete("/projects/{slug}/gold/{id}", status_code=204, summary="Ask it no more; what was said to it still counts")
def retire_gold(session: WriteDb, project_id: CurrentProjectId, caller: Caller, gold_id: GoldId) -> Response:
    project = session.get_one(Project, project_id)
    gold.retire(session, project, gold_id, caller.user_id)
    return Response(status_code=204)


@router.post("/projects/{slug}/gold/{id}/return", status_code=204, summary="Ask it again")
def use_gold_again(session: WriteDb, project_id: CurrentProjectId, caller: Caller, gold_id: GoldId) -> Response:
    project = session.get_one(Project, project_id)
    gold.use_again(session, project, gold_id, caller.user_id)
    return Response(status_code=204)


@router.put("/projects/{slug}/annotators/{id}/exclusion", status_code=204, summary="Withdraw a person's labels from training")
def exclude(session: WriteDb, project_id: CurrentProjectId, caller: Caller, user_id: PersonId, body: ExclusionIn) -> Response:
    project = session.get_one(Project, project_id)
    exclusion.exclude(session, project, user_id, body.reason, caller.user_id)
    return Response(status_code=204)


@router.delete("/projects/{slug}/annotators/{id}/exclusion", status_code=204, summary="Let a person's labels train again")
def include(session: WriteDb, project_id: CurrentProjectId, caller: Caller, user_id: PersonId) -> Response:
    project = session.get_one(Project, project_id)
    exclusion.include(session, project, user_id, caller.user_id)
    return Response(status_code=204)


@router.post("/projects/{slug}/annotators/{id}/resumption", status_code=204, summary="Let a paused person go on")
def resume(session: WriteDb, project_id: CurrentProjectId, caller: Caller, user_id: PersonId) -> Response:
    project = session.get_one(Project, project_id)
    pausing.resume(session, project, user_id, caller.user_id)
    return Response(status_code=204)


def _reply(one: Gold, known: Known | None = None) -> GoldReply:
    return GoldReply(
        id=one.id,
        task_id=one.source_task_id,
        choice=one.choice,
        overall=one.overall,
        asked=known.asked if known else 0,
        created_at=one.created_at,
        retired_at=one.retired_at,
    )
