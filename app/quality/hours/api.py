"""How long each person worked on each day, over the API. Admins only."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.database.engine import Db
from app.models import Project, utc_now
from app.projects.hours_budget import used
from app.quality.hours import service
from app.web.gate import CurrentProjectId
from app.web.json_types import Reply

router = APIRouter(tags=["quality"])


class WorkedReply(Reply):
    user_id: int
    name: str
    day: date
    minutes: float = Field(description="active: from one sign of work to the next, up to 5 minutes each")
    labels: int = Field(description="verdicts, corrections among them")


class HoursBudgetReply(Reply):
    hours: float = Field(description="worked this month, as a worker last counted: within the last minute")
    most: float = Field(description="the project's `hours_budget`")
    is_used: bool = Field(description="nobody is given a new task")
    again: datetime = Field(description="when the next month begins where the server stands")


class HoursReply(Reply):
    items: list[WorkedReply] = Field(description="the newest day first")
    budget: HoursBudgetReply | None = Field(description="of this month, whichever days are asked for; null: no bound")


@router.get("/projects/{slug}/hours", summary="Active time per person and day")
def show_hours(
    session: Db,
    project_id: CurrentProjectId,
    since: Annotated[date | None, Query(description="the first day; without it, that of the last day's month")] = None,
    until: Annotated[date | None, Query(description="the last day; without it, today where the server stands")] = None,
) -> HoursReply:
    last = until or utc_now().astimezone().date()
    found = service.hours(session, project_id, since or last.replace(day=1), last)
    budget = used(session.get_one(Project, project_id), utc_now())
    return HoursReply(
        items=[WorkedReply.model_validate(one) for one in found],
        budget=None if budget is None else HoursBudgetReply.model_validate(budget),
    )
