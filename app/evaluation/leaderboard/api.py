"""The leaderboard over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.database.engine import Db
from app.evaluation.leaderboard.service import Row, leaderboard
from app.evaluation.leaderboard.side_by_side import contenders_of, side_by_side
from app.models import Project
from app.runs.bodies import Cursor
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, CodedMessage, Limit, Page, Reply, Told, cursor_id

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


class SideBySideReply(Reply):
    prompt_id: int
    split: str = Field(description="`train` or `holdout`.")
    messages: list[dict[str, str]]
    one: str = Field(description="What the first contender said: the first answer of its newest run.")
    other: str


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


@router.get("/projects/{slug}/side-by-side", summary="What two contenders said to the same prompts")
def show_side_by_side(
    session: Db,
    project_id: CurrentProjectId,
    one: Annotated[int, Query(ge=1, le=MAX_ID, description="A contender.")],
    other: Annotated[int, Query(ge=1, le=MAX_ID, description="Another one.")],
    limit: Annotated[Limit, Query()] = 50,
    cursor: Cursor = None,
) -> Page[SideBySideReply]:
    """The newest prompts first, less what people may still be asked about."""
    both = contenders_of(session, session.get_one(Project, project_id), one, other)
    found = side_by_side(session, *both, before=cursor_id(cursor), limit=limit + 1)
    items = [
        SideBySideReply(
            prompt_id=row.prompt.id, split=row.prompt.split, messages=row.prompt.messages, one=row.one.text, other=row.other.text
        )
        for row in found[:limit]
    ]
    return Page(items=items, next_cursor=str(items[-1].prompt_id) if len(found) > limit else None)


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
