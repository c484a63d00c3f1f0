"""Tasks on which people differ, stored by the code that stores verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.models import Dispute, Project, Task
from tests.app import factories
from tests.app.labels.judged import judge


def differ(
    session: Session, project: Project, said: Mapping[int, dict[str, Any]], kind: str = "comparison", extra_seats: int = 0
) -> Task:
    """A task with a seat for each of these people, who said this."""
    project.extra_seats = extra_seats
    task = factories.make_task(session, project, kind, seats=len(said))
    for person, verdict in said.items():
        judge(session, project, person, kind, task=task, **verdict)
    return task


def dispute_of(session: Session, task_id: int) -> Dispute | None:
    session.expire_all()
    return session.scalar(select(Dispute).where(Dispute.task_id == task_id))


def open_dispute(
    engine: Engine, project_id: int, said: Mapping[int, dict[str, Any]], kind: str = "comparison"
) -> tuple[int, int]:
    """One that waits for a reviewer: its id and its task's."""
    with write_session(engine) as session:
        task = differ(session, session.get_one(Project, project_id), said, kind)
        dispute = dispute_of(session, task.id)
        assert dispute is not None
        assert dispute.state == "open"
        return dispute.id, task.id
