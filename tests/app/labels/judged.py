"""Labels for tests: a task and somebody's verdict on it, stored by the code that stores them."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.labels.record import Stored, record_label
from app.labels.verdict import Verdict
from app.models import Project, Seat, Task, utc_now
from app.queue.claim import second_stands_left
from tests.app import factories


def judge(
    session: Session,
    project: Project,
    annotator_id: int,
    kind: str = "comparison",
    *,
    task: Task | None = None,
    at: datetime | None = None,
    **said: Any,
) -> Stored:
    """A verdict of this person on the task, or on a new one: A, or 4 of 5, unless `said` says otherwise."""
    now = at or utc_now()
    task = task or factories.make_task(session, project, kind)
    seat = session.query(Seat).filter_by(task_id=task.id, state="free").order_by(Seat.number).first()
    assert seat is not None, "no free seat"
    seat.state, seat.annotator_id, seat.claimed_at = "leased", annotator_id, now - timedelta(seconds=9)
    seat.lease_until, seat.swapped = now + timedelta(minutes=5), second_stands_left(task.id, annotator_id)
    session.flush()
    verdict = Verdict(str(uuid.uuid4()), **({"choice": "left"} if kind == "comparison" else {"overall": 4}) | said)
    return record_label(session.connection(), task.id, annotator_id, verdict, interface="test", now=now)
