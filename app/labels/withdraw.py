"""Take a verdict back: a new version that withdraws it. The rows stay, and none of them is in force.

It counts nowhere from then on. The task is short of a label then, so a seat opens for somebody else, unless it is about a turn
of a talk or came from use, which nobody else had, or a reviewer settled it; its author is not asked again, but may open it and
answer once more, which closes that seat again while it is free.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, or_, select
from sqlalchemy.orm import Session, aliased

from app.errors import NotFound
from app.labels import disputed
from app.labels.disputed import REVIEW
from app.labels.record import INSERT, SUPERSEDE, Stored, is_latest, one_at_a_time, stored_before
from app.language.languages import _
from app.models import Gold, Label, Project, Seat, Task


def withdraw(connection: Connection, task_id: int, annotator_id: int, client_id: str, *, interface: str, now: datetime) -> Stored:
    """Withdraw this person's verdict on the task. The same send again, or a second withdrawal, changes nothing.

    Raises NotFound where they have given none, and Conflict when `client_id` was used for something else.
    """
    one_at_a_time(connection, task_id)
    payload_hash = hashlib.sha256(b"withdraw %d %d" % (task_id, annotator_id)).hexdigest()
    if (known := stored_before(connection, client_id, payload_hash)) is not None:
        return known
    mine = (Label.task_id == task_id, Label.annotator_id == annotator_id)
    label = connection.execute(select(Label.__table__).where(*mine, is_latest(Label))).first()
    if label is None:
        raise NotFound(_("You have given no verdict on this task, so there is none to withdraw."))
    if label.withdrawn:
        return Stored(label.id, task_id, label.version, label.surplus, label.created_at, created=False)
    row = _withdrawal(label) | {"client_id": client_id, "payload_hash": payload_hash, "created_at": now}
    made = connection.execute(INSERT[connection.dialect.name], row | {"interface_version": interface}).one()
    connection.execute(SUPERSEDE, {"label": label.id})
    if label.served_reason == REVIEW:
        disputed.open_again(connection, task_id, now)
        return Stored(made.id, task_id, row["version"], label.surplus, now, created=True)
    if not label.surplus and not label.overruled and label.served_reason not in ("chat", "feedback"):
        _open_seat_if_short(connection, label.project_id, task_id)
    disputed.follow(connection, task_id, now)
    return Stored(made.id, task_id, row["version"], label.surplus, now, created=True)


def task_of(session: Session, label_id: int) -> int:
    """The task that a label is about."""
    return session.get_one(Label, label_id).task_id


def still_stands(label: type[Label]) -> ColumnElement[bool]:
    """Whether the verdict that a row is a version of is in force, in this version or a later one."""
    current = aliased(Label)
    mine = (current.task_id == label.task_id, current.annotator_id == label.annotator_id)
    return or_(label.current, exists().where(*mine, current.current))


def _withdrawal(label: Row[Any]) -> dict[str, Any]:
    """The next version: what was said as far as its kind needs it, and nothing that anybody wrote."""
    row = dict(label._mapping)
    del row["id"]
    row |= {
        "criteria": {},
        "flags": {},
        "rubric": None,
        "spans": None,
        "rewrite": None,
        "comment": "",
        "wall_ms": None,
        "active_ms": None,
    }
    return row | {"version": label.version + 1, "supersedes_id": label.id, "current": False, "withdrawn": True}


def _open_seat_if_short(connection: Connection, project_id: int, task_id: int) -> None:
    """Another seat, unless those that wait and the verdicts in force are as many as the project wants. A check has one person,
    and what became a known answer is asked as a check alone.
    """
    known = exists().where(Gold.source_task_id == task_id)
    purpose, is_known = connection.execute(select(Task.purpose, known).where(Task.id == task_id)).one()
    if purpose in ("gold", "repeat") or is_known:
        return
    wanted = connection.execute(select(Project.overlap).where(Project.id == project_id)).scalar_one()
    in_force = select(func.count()).where(Label.task_id == task_id, Label.current, ~Label.surplus).scalar_subquery()
    waiting = select(func.count()).where(Seat.task_id == task_id, Seat.state != "done").scalar_subquery()
    if connection.execute(select(in_force + waiting)).scalar_one() >= wanted:
        return
    last = connection.execute(select(func.max(Seat.number)).where(Seat.task_id == task_id)).scalar_one()
    connection.execute(insert(Seat).values(project_id=project_id, task_id=task_id, number=last + 1))
