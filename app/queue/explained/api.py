"""The queue explained, over the API. Admins only: whoever annotates must not know which tasks check them."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from app.database.engine import Db
from app.queue.explained.service import LOOKED_AT, explain
from app.web.gate import CurrentProjectId
from app.web.json_types import Reply

router = APIRouter(tags=["tasks"])


class KindReply(Reply):
    name: Literal["comparison", "rating", "ranking"]
    waiting: int
    given: int


class ReasonReply(Reply):
    name: Literal["random", "evaluation", "repeat", "gold", "chat", "feedback", "review", "uncertain"] = Field(
        description="`random`: drawn, or asked for by somebody; the others as labels have them in `served_reason`."
    )
    waiting: int
    given: int


class QueueReply(Reply):
    waiting: int = Field(description=f"Places free to be taken, of which the next {LOOKED_AT:,} are looked at.")
    given: int = Field(description=f"Verdicts in force, of which the newest {LOOKED_AT:,} are looked at.")
    kinds: list[KindReply]
    reasons: list[ReasonReply] = Field(description="Those of which there is any.")


@router.get("/projects/{slug}/queue", summary="What is asked next, and what was asked, by kind and reason")
def show_queue(session: Db, project_id: CurrentProjectId) -> QueueReply:
    return QueueReply.model_validate(explain(session, project_id))
