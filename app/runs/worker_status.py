"""What the worker is doing at this moment, for a page to say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Run, Worker, utc_now

SILENT = timedelta(seconds=20)  # a worker gives a sign of life every two seconds


@dataclass(frozen=True)
class Standing:
    """`heard_at`: the last sign of life of any worker; `run`: the one it works on, of whatever project."""

    alive: bool
    heard_at: datetime | None
    run: Run | None
    queued: int  # runs that wait


def worker_standing(session: Session, now: datetime | None = None) -> Standing:
    """Looks at the newest sign of life; a worker that stopped properly leaves none."""
    now = now or utc_now()
    heard_at = session.scalar(select(Worker.heartbeat_at).order_by(Worker.heartbeat_at.desc()).limit(1))
    run = session.scalar(select(Run).where(Run.state == "running").order_by(Run.id).limit(1))
    queued = len(session.scalars(select(Run.id).where(Run.state == "queued").limit(100)).all())
    return Standing(heard_at is not None and now - heard_at < SILENT, heard_at, run, queued)
