"""Counting the hours of a month against a project's budget: a worker's chore, so that no claim has to add up labels.

Days that are over are counted once by each worker, today anew every half minute: what a claim goes by is never older than a
minute while a worker is alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.models import Project, utc_now
from app.projects.hours_budget import month_of, settle
from app.quality.hours.service import hours

AGE: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Before:
    """What a worker remembers of a month: the hours before `day`."""

    day: date
    hours: float


def keep_counting(engine: Engine, project_id: int, remembered: dict[int, Before], now: datetime | None = None) -> None:
    """Count, and close the project or open it. Nothing is done where there is no budget, or somebody has just counted."""
    now = now or utc_now()
    with read_session(engine) as session:
        if not _is_due(session.get_one(Project, project_id), now):
            return
        before = _before(session, project_id, now.astimezone().date(), remembered.get(project_id))
        worked = before.hours + _today(session, project_id, before.day)
    remembered[project_id] = before
    with write_session(engine) as session:
        project = hold(session, session.get_one(Project, project_id))
        project.hours_worked, project.hours_counted_at = worked, now
        settle(project, now)  # by the budget as it is now: somebody may have raised it meanwhile


def _is_due(project: Project, now: datetime) -> bool:
    if project.hours_budget is None:
        return False
    counted = project.hours_counted_at
    return counted is None or now - counted >= AGE or counted < month_of(now)[0]


def _before(session: Session, project_id: int, today: date, known: Before | None) -> Before:
    if known is not None and known.day == today:
        return known
    first = today.replace(day=1)
    if first == today:
        return Before(today, 0.0)
    return Before(today, _sum(session, project_id, first, today - timedelta(days=1)))


def _today(session: Session, project_id: int, today: date) -> float:
    """With what went before midnight in sight: somebody may have been at work; the month's first day is counted for itself."""
    since = today if today.day == 1 else today - timedelta(days=1)
    return _sum(session, project_id, since, today, only=today)


def _sum(session: Session, project_id: int, since: date, until: date, only: date | None = None) -> float:
    found = hours(session, project_id, since, until)
    return sum((one.active for one in found if only in (None, one.day)), timedelta()).total_seconds() / 3600
