"""Whether the installation works: the database at head and writable, the worker alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.upgrade import MIGRATIONS, head, revision_in
from app.models import Worker, utc_now

WORKER_SILENCE_S = 30  # a worker that has not been heard of for this long counts as away


@dataclass(frozen=True)
class Health:
    at_head: bool
    worker_alive: bool


def check(session: Session) -> Health:
    """Give it a writing session: that it could begin is the proof that the database can be written."""
    heard = session.scalar(select(func.max(Worker.heartbeat_at)))
    alive = heard is not None and utc_now() - heard < timedelta(seconds=WORKER_SILENCE_S)
    return Health(at_head=revision_in(session.connection()) == head(MIGRATIONS), worker_alive=alive)
