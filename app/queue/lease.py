"""Keep a seat a little longer, or give it back."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from app.errors import Conflict, NotFound
from app.language.languages import _
from app.models import Label, Seat, Skip
from app.queue.conditions import GIVEN_BACK, NOT_SAID


def renew(connection: Connection, task_id: int, annotator_id: int, *, now: datetime, lease: timedelta) -> datetime:
    """Keep the task for this person for another `lease`; the new end. Raises Conflict once somebody else has the seat."""
    until = now + lease
    kept = connection.execute(
        update(Seat)
        .where(Seat.task_id == task_id, Seat.annotator_id == annotator_id, Seat.state == "leased")
        .values(lease_until=until)
        .returning(Seat.id)
        .execution_options(synchronize_session=False)
    ).first()
    if kept is None:
        raise Conflict(_("This task is no longer kept for you. If you send your verdict, it will still be saved."))
    return until


def give_back(connection: Connection, task_id: int, annotator_id: int, lease_until: datetime, *, now: datetime) -> None:
    """Free a seat that is not used after all: the next person who asks may have it, this one included.

    `lease_until` says which lease is meant. One that was renewed, or begun again in another tab, is in use: Conflict, and
    nothing changes. That somebody had the task is remembered, so that a verdict which comes after all is accepted.
    """
    if not _free(connection, task_id, annotator_id, Seat.lease_until == lease_until):
        raise Conflict(_("The task is not kept for you under that lease any more. Nothing was given back."))
    if connection.execute(select(Skip.id).where(Skip.task_id == task_id, Skip.annotator_id == annotator_id)).first() is None:
        had = {"task_id": task_id, "annotator_id": annotator_id, "reason": GIVEN_BACK, "created_at": now}
        connection.execute(insert(Skip).values(had))


def skip(connection: Connection, task_id: int, annotator_id: int, reason: str, *, now: datetime) -> None:
    """Give the seat back; this person is not asked the task again. Skipping twice is skipping once.

    Raises Conflict when the task is answered, NotFound when this person never had it.
    """
    answered = select(Label.id).where(Label.task_id == task_id, Label.annotator_id == annotator_id).limit(1)
    if connection.execute(answered).first():
        raise Conflict(_("You have answered this task already. You can open it again and change your verdict."))
    freed = _free(connection, task_id, annotator_id)
    mine = (Skip.task_id == task_id, Skip.annotator_id == annotator_id)
    known = connection.execute(select(Skip.reason).where(*mine)).first()
    if not freed and known is None:
        raise NotFound(_("This task was never given to you."))
    if known is not None and known.reason in NOT_SAID:
        connection.execute(delete(Skip).where(*mine))  # now it is the person who says so
        known = None
    if known is None:
        said = f"{reason}." if reason in NOT_SAID else reason  # words of a person, which end in a full stop
        connection.execute(insert(Skip).values(task_id=task_id, annotator_id=annotator_id, reason=said, created_at=now))


def _free(connection: Connection, task_id: int, annotator_id: int, *which: ColumnElement[bool]) -> bool:
    """Free the seat this person holds; False when they hold none, or none such."""
    freed = connection.execute(
        update(Seat)
        .where(Seat.task_id == task_id, Seat.annotator_id == annotator_id, Seat.state == "leased", *which)
        .values(state="free", annotator_id=None, claimed_at=None, lease_until=None)
        .returning(Seat.id)
        .execution_options(synchronize_session=False)
    ).first()
    return freed is not None
