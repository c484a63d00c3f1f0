"""Which seats somebody may take: what each claim asks of every one that it looks at, as parts of its statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, and_, bindparam, exists, or_, select, true
from sqlalchemy.orm import aliased

from app.models import EvaluationRest, Label, Prompt, Seat, Skip, Task

LEASE_EXPIRED: Final = "lease expired"  # the reasons on skips that say only that somebody had the task: the clock took it,
GIVEN_BACK: Final = "given back"  # or they returned it unused, and it stays open to them
NOT_SAID: Final = (LEASE_EXPIRED, GIVEN_BACK)  # reasons that nobody gave; `lease.skip` keeps people's own words apart from them
APART: Final = 20  # tasks of a person between two that ask about one prompt: pairs that follow each other tell of an evaluation
ME: ColumnElement[int] = bindparam("me", type_=Seat.annotator_id.type)


def had(table: type[Seat] | type[Skip] | type[Label], task_id: Any) -> ColumnElement[bool]:
    other = aliased(table)
    return exists().where(other.task_id == task_id, other.annotator_id == ME)


def not_had(task_id: Any) -> ColumnElement[bool]:
    """Whether the person of the parameter `me` never had this task, or gave it back unused."""
    other = aliased(Skip)
    barred = exists().where(other.task_id == task_id, other.annotator_id == ME, other.reason != GIVEN_BACK)
    return and_(~had(Seat, task_id), ~barred, ~had(Label, task_id))


def open_to(annotator_id: Any) -> ColumnElement[bool]:
    """Whether a seat is kept for nobody else."""
    return or_(Seat.reserved_for.is_(None), Seat.reserved_for == annotator_id)


def not_just_had() -> ColumnElement[bool]:
    """Whether the task's prompt is none of those that the person had last, or has in hand. Found by the person's index."""

    def theirs(state: str) -> Select[Any]:
        mine, task = aliased(Seat), aliased(Task)
        last = (
            select(mine.task_id)
            .where(mine.annotator_id == ME, mine.project_id == bindparam("project"), mine.state == state)
            .order_by(mine.claimed_at.desc())
            .limit(APART)
            .subquery(f"{state}_last")
        )
        return select(task.prompt_id).where(task.id == last.c.task_id)

    return and_(Task.prompt_id.not_in(theirs("done")), Task.prompt_id.not_in(theirs("leased")))


def not_resting() -> ColumnElement[bool]:
    """Whether the task is of no evaluation, or the person does not rest in one of the project's."""
    rests = exists().where(EvaluationRest.project_id == bindparam("project"), EvaluationRest.annotator_id == ME)
    return or_(Task.purpose != "evaluation", ~rests)


def for_them() -> ColumnElement[bool]:
    """Whether the task's prompt is for this person: it has none of the audiences of the parameter `kept`, as
    `app.assignment.audiences.kept_from` has it.
    """
    kept: ColumnElement[str] = bindparam("kept", type_=Text())
    is_kept = kept.contains("\n" + Prompt.audience + "\n")
    return ~exists().where(Prompt.id == Task.prompt_id, Prompt.audience.is_not(None), is_kept)


def for_some_of_us(audiences: Sequence[str]) -> ColumnElement[bool]:
    """Whether a seat's prompt has none of these audiences, to which nobody belongs."""
    if not audiences:
        return true()
    return ~exists().where(Task.id == Seat.task_id, Prompt.id == Task.prompt_id, Prompt.audience.in_(audiences))


def for_them_or_chosen() -> ColumnElement[bool]:
    """Likewise of a seat; one that is reserved for them was chosen by what they may see."""
    return or_(Seat.reserved_for == ME, for_them())
