"""A person's own work over the API."""

from __future__ import annotations

from datetime import date

from fastapi import APIRouter, Request
from pydantic import Field

from app.database.engine import Db
from app.overview.my_work import work_of
from app.quality.steadiness import steadiness
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.json_types import CodedMessage, Reply, Told, coded
from app.web.security import Caller

router = APIRouter(tags=["projects"])


class DayReply(Reply):
    day: date
    labels: int


class SpeedReply(Reply):
    kind: str
    median_s: float | None = Field(description="seconds spent on one label, active time where it is known")
    timed: int = Field(description="labels the median rests on")


class AgreementReply(Reply):
    kind: str
    tasks: int = Field(description="judged by the caller and by somebody else")
    share: float | None = Field(description="null until there are enough tasks")
    low: float | None
    high: float | None


class SteadyReply(Reply):
    n: int = Field(description="tasks that came back to the caller")
    value: float | None = Field(description="of them, how often the caller said the same; ratings within one step")
    low: float | None
    high: float | None


class LearnedReply(Reply):
    round_id: int
    number: int
    mine: int = Field(description="labels of the caller's that the round learned from")
    labels: int
    decision: str | None
    judged: Told | None = Field(description="how people compared its model blind with the one before, once that is over")
    coded_judged: CodedMessage | None = coded("judged")


class WorkReply(Reply):
    today: int
    per_hour: float | None
    all_time: int
    days: list[DayReply]
    speeds: list[SpeedReply]
    agreements: list[AgreementReply]
    steady: SteadyReply | None = Field(description="null until ten tasks came back to the caller, today's left out")
    learned: list[LearnedReply]


@router.get("/projects/{slug}/work", summary="The caller's own work: count, pace, agreement, what it taught")
def show_work(request: Request, session: Db, caller: Caller, project: CurrentProject) -> WorkReply:
    settings: Settings = request.app.state.settings
    work = work_of(session, project, caller.user_id, settings.runs)
    steady = steadiness(session, project.id, caller.user_id)
    return WorkReply(
        today=work.today,
        per_hour=work.per_hour,
        all_time=work.all_time,
        days=[DayReply(day=day, labels=labels) for day, labels in work.days],
        speeds=[SpeedReply.model_validate(speed) for speed in work.speeds],
        agreements=[AgreementReply.model_validate(agreement) for agreement in work.agreements],
        steady=None if steady is None else SteadyReply.model_validate(steady),
        learned=[
            LearnedReply(
                round_id=one.round.id,
                number=one.round.number,
                mine=one.mine,
                labels=one.labels,
                decision=one.round.decision,
                judged=one.judged,
            )
            for one in work.learned
        ],
    )
