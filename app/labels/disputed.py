"""Whether people say different things about a task, and what follows: somebody else is asked, then a reviewer.

Kept with the task, so that the labels are found without comparing all there are. It is of verdicts in force, late ones too,
less a reviewer's own, which settles what people differ on. Whoever stores a version holds the task until the transaction ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    case,
    delete,
    distinct,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from app.models import Dispute, Doubt, Gold, Label, Project, Seat, Task

REVIEW: Final = "review"  # why a reviewer was asked: the reason that their labels give
NEAR: Final = 1  # ratings so far apart are alike


def said(label: type[Label]) -> ColumnElement[Any]:
    """What a verdict says, comparable between people, who see answers on other sides: which one, less than 0 for neither."""
    return case(
        (label.choice == "left", label.left_generation_id),
        (label.choice == "right", label.right_generation_id),
        (label.choice == "tie", -1),
        (label.choice == "both_bad", -2),
        else_=label.overall,
    )


def is_contested(kind: str, verdicts: Sequence[int]) -> bool:
    """Whether no verdict has more than half of them; of ratings none with those a step beside it."""
    near = NEAR if kind == "rating" else 0
    times = Counter(verdicts)
    most = max((sum(times[value + step] for step in range(-near, near + 1)) for value in times), default=0)
    return bool(verdicts) and 2 * most <= len(verdicts)


def note(connection: Connection, task_id: int) -> None:
    """Keep with the task what is so now, once a version of somebody's verdict was stored."""
    connection.execute(_NOTE, {"task": task_id})


def follow(connection: Connection, task_id: int, now: datetime) -> None:
    """Note it, and see to what people differ on: while they do, another person is asked, as many as the project wants; then it is
    a reviewer's. What a reviewer settled stays settled.
    """
    note(connection, task_id)
    task: Any = connection.execute(_STANDING, {"task": task_id}).one()
    if task.state == "settled" or not (
        task.state or (task.disputed and task.purpose == "train" and task.served_reason != "chat")
    ):
        return
    if task.state is not None:
        connection.execute(_CLOSE_DOUBTS, {"task": task_id, "now": now})
    _keep(connection, task, *_next(connection, task), now)


def _next(connection: Connection, task: Any) -> tuple[str | None, int]:
    """The state of its dispute from now on, if it has one, and how many were asked for it."""
    added = task.seats_added or 0
    verdicts = connection.execute(_VERDICTS, {"task": task.id}).scalars().all()
    if not is_contested(task.kind, verdicts):
        return task.state and "closed", added
    if connection.execute(_WAITING, {"task": task.id}).scalar():
        return "asking" if added else task.state and "asking", added
    if added < task.extra_seats:
        connection.execute(_ASK_ANOTHER, {"task": task.id})
        return "asking", added + 1
    return ("doubted" if connection.execute(_DOUBTED, {"task": task.id}).scalar() else "open"), added


def _keep(connection: Connection, task: Any, state: str | None, added: int, now: datetime) -> None:
    if state is None:
        return
    if task.state is None:
        row = {"project_id": task.project_id, "task_id": task.id, "state": state, "seats_added": added, "created_at": now}
        connection.execute(insert(Dispute).values(row))
    elif (task.state, task.seats_added) != (state, added):
        connection.execute(_of(task.id).values(state=state, seats_added=added))


def settle(connection: Connection, task_id: int, reviewer_id: int, now: datetime) -> None:
    """The reviewer's verdict, which was stored, trains in place of all others; nobody else is asked."""
    connection.execute(_of(task_id).values(state="settled", settled_by=reviewer_id, settled_at=now))
    connection.execute(_OVERRULE, {"task": task_id, "overruled": True})
    connection.execute(delete(Seat).where(Seat.task_id == task_id, Seat.state == "free"))
    connection.execute(_CLOSE_DOUBTS_ALL, {"task": task_id, "now": now})


def open_again(connection: Connection, task_id: int, now: datetime) -> None:
    """The reviewer took their verdict back: those of the others train again, and it is as it was before."""
    connection.execute(_of(task_id).values(state="open", settled_by=None, settled_at=None))
    connection.execute(_OVERRULE, {"task": task_id, "overruled": False})
    follow(connection, task_id, now)


def _of(task_id: int) -> Update:
    return update(Dispute).where(Dispute.task_id == task_id).execution_options(synchronize_session=False)


# The statements, built once.

_task: Any = bindparam("task", type_=Task.id.type)
_by_people = and_(Label.current, Label.served_reason != REVIEW)
_DIFFERENT: Final = (
    select(func.count(distinct(said(Label))) > 1).where(Label.task_id == Task.id, _by_people).correlate(Task).scalar_subquery()
)
_NOTE: Final = (
    update(Task)
    .where(Task.id == _task, Task.disputed != _DIFFERENT)
    .values(disputed=_DIFFERENT)
    .execution_options(synchronize_session=False)
)
_is_known = exists().where(Gold.source_task_id == Task.id)  # then it is asked as a check alone
_STANDING: Final = (
    select(
        *(Task.id, Task.project_id, Task.kind, Task.purpose, Task.served_reason, Task.disputed),
        *(case((_is_known, 0), else_=Project.extra_seats).label("extra_seats"), Dispute.state, Dispute.seats_added),
    )
    .join_from(Task, Project, Project.id == Task.project_id)
    .outerjoin(Dispute, Dispute.task_id == Task.id)
    .where(Task.id == _task)
)
_VERDICTS: Final = select(said(Label)).where(Label.task_id == _task, _by_people)
_WAITING: Final = select(exists().where(Seat.task_id == _task, Seat.state != "done"))
_mine = select(Dispute.id).where(Dispute.task_id == _task).scalar_subquery()
_DOUBTED: Final = select(exists().where(Doubt.dispute_id == _mine, Doubt.closed_at.is_(None)))
_CLOSE_DOUBTS_ALL: Final = (
    update(Doubt)
    .where(Doubt.dispute_id == _mine, Doubt.closed_at.is_(None))
    .values(closed_at=bindparam("now", type_=Doubt.closed_at.type))
    .execution_options(synchronize_session=False)
)
_CLOSE_DOUBTS: Final = _CLOSE_DOUBTS_ALL.where(~exists().where(Label.id == Doubt.label_id, Label.current))
_ASK_ANOTHER: Final = insert(Seat).from_select(  # where its task stands in the queue, which is soon
    ["project_id", "task_id", "number", "place", "state", "swapped"],
    select(Seat.project_id, Seat.task_id, func.max(Seat.number) + 1, func.min(Seat.place), literal("free"), literal(False))
    .where(Seat.task_id == _task)
    .group_by(Seat.project_id, Seat.task_id),
)
_OVERRULE: Final = (
    update(Label)
    .where(Label.task_id == _task, Label.served_reason != REVIEW, Label.overruled != bindparam("overruled"))
    .values(overruled=bindparam("overruled"))
    .execution_options(synchronize_session=False)
)
