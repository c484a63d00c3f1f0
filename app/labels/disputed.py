"""Whether people say different things about a task: kept with it, so that the labels are found without comparing all there are.

It is of verdicts in force, late ones too. Whoever stores a version holds the task until the transaction ends.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, case, distinct, func, select, update

from app.models import Label, Task


def said(label: type[Label]) -> ColumnElement[Any]:
    """What a verdict says, comparable between people, who see answers on other sides: which one, less than 0 for neither."""
    return case(
        (label.choice == "left", label.left_generation_id),
        (label.choice == "right", label.right_generation_id),
        (label.choice == "tie", -1),
        (label.choice == "both_bad", -2),
        else_=label.overall,
    )


def note(connection: Connection, task_id: int) -> None:
    """Keep with the task what is so now, once a version of somebody's verdict was stored."""
    connection.execute(_NOTE, {"task": task_id})


_DIFFERENT: Final = (
    select(func.count(distinct(said(Label))) > 1).where(Label.task_id == Task.id, Label.current).correlate(Task).scalar_subquery()
)
_NOTE: Final = (
    update(Task)
    .where(Task.id == bindparam("task", type_=Task.id.type), Task.disputed != _DIFFERENT)
    .values(disputed=_DIFFERENT)
    .execution_options(synchronize_session=False)
)
