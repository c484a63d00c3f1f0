"""Why somebody has nothing to answer now, and when to come back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Project, Prompt, Seat, utc_now
from app.runs import estimates

Reason = Literal[
    "writing",
    "queued",
    "learning",
    "trouble",
    "no_worker",
    "others",
    "finished",
    "no_prompts",
    "archived",
    "paused",
    "closed",
]


@dataclass(frozen=True, slots=True)
class Waiting:
    """`seconds` until there may be a task: until the model has written, a seat that somebody else holds runs out, or the
    month begins whose hours are not used.
    """

    reason: Reason
    seconds: float | None = None
    done: int = 0  # answers written so far
    total: int = 0
    day: date | None = None  # on which that month begins


def waiting(session: Session, project: Project, *, paused: bool = False) -> Waiting:
    """For somebody who just asked this project for a task and got none. `paused`: they are asked nothing at present."""
    if project.archived_at is not None:
        return Waiting("archived")
    if paused:
        return Waiting("paused")
    now = utc_now()
    if project.closed_until is not None and project.closed_until > now:
        return Waiting("closed", (project.closed_until - now).total_seconds(), day=project.closed_until.astimezone().date())
    coming = estimates.next_tasks(session, project)
    if coming.state == "writing" and coming.run is not None:
        return Waiting("writing", coming.seconds, coming.run.step, coming.run.total)
    if coming.state == "stopped":
        return Waiting("trouble")
    if coming.state != "none":
        return Waiting(coming.state, coming.seconds)
    here = Seat.project_id == project.id
    if session.scalar(select(Seat.id).where(here, Seat.reserved_for.is_(None), Seat.state.in_(("free", "leased"))).limit(1)):
        first_end = session.scalar(select(func.min(Seat.lease_until)).where(here, Seat.state == "leased"))
        return Waiting("others", None if first_end is None else max(0.0, (first_end - utc_now()).total_seconds()))
    has_prompts = session.scalar(select(Prompt.id).where(Prompt.project_id == project.id).limit(1))
    return Waiting("finished" if has_prompts else "no_prompts")
