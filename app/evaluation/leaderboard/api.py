"""The leaderboard over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.database.engine import Db
from app.evaluation.leaderboard.service import Row, leaderboard
from app.models import Project
from app.web.gate import CurrentProjectId
from app.web.json_types import CodedMessage, Reply, Told

router = APIRouter(tags=["evaluation"])


class StandingReply(Reply):
    contender_id: int | None = Field(description="None: the base model has answered nothing yet.")
    name: Told
    coded_name: CodedMessage
    kind: str = Field(description="`policy`, `best_of`, `outside` or `imported`.")
    base: bool
    promoted: bool
    verdicts: int
    enough: bool = Field(description="False: too few verdicts, or none that leads to the base; the rate says nothing.")
    rate: float = Field(description="How often it would win against the base, a tie half a win; of the base .5.")
    lower: float = Field(description="Of the rate's 95 % interval.")
    upper: float
    kl_nats: float | None = Field(description="From the base, per answer; of a best of n at most. None: nobody measured it.")


class LeaderboardReply(Reply):
    verdicts: int
    uncounted: int = Field(description="Ids of labels that are not in it yet; a worker is counting them.")
    items: list[StandingReply] = Field(description="The best first; those with too few verdicts last.")


@router.get("/projects/{slug}/leaderboard", summary="All contenders by what people said of them blind")
def show_leaderboard(
    session: Db,
    project_id: CurrentProjectId,
    without_length: Annotated[
        bool, Query(description="As if either answer of two contenders had been the longer one equally often.")
    ] = False,
) -> LeaderboardReply:
    board = leaderboard(session, session.get_one(Project, project_id), without_length=without_length)
    return LeaderboardReply(verdicts=board.verdicts, uncounted=board.uncounted, items=[_reply(row) for row in board.rows])


def _reply(row: Row) -> StandingReply:
    said = row.standing
    return StandingReply.model_validate(
        {
            "contender_id": row.contender.id if row.contender else None,
            "name": row.name,
            "coded_name": row.name,
            "kind": row.contender.kind if row.contender else "policy",
            "base": row.base,
            "promoted": row.promoted,
            "verdicts": said.verdicts,
            "enough": said.enough,
            "rate": said.rate,
            "lower": said.lower,
            "upper": said.upper,
            "kl_nats": row.kl_nats,
        }
    )
