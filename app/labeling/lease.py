"""Keep a seat a little longer, or give it back."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from app.errors import Conflict, NotFound
from app.labeling.claim import LEASE_EXPIRED
from app.languages import _
from app.models import Label, Seat, Skip


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


def give_back(connection: Connection, task_id: int, annotator_id: int, *, now: datetime) -> None:
    """End the lease of a seat that is not used after all: the next person who asks may have it, this one included.

    The seat keeps its holder until then, so that a verdict which comes after all is theirs. Nothing happens without a lease.
    """
    connection.execute(
        update(Seat)
        .where(Seat.task_id == task_id, Seat.annotator_id == annotator_id, Seat.state == "leased")
        .values(lease_until=now)
        .execution_options(synchronize_session=False)
    )


def skip(connection: Connection, task_id: int, annotator_id: int, reason: str, *, now: datetime) -> None:
    """Give the seat back; this person is not asked the task again. Skipping twice is skipping once.

    Raises Conflict when the task is answered, NotFound when this person never had it.
    """
    freed = connection.execute(
        update(Seat)
        .where(Seat.task_id == task_id, Seat.annotator_id == annotator_id, Seat.state == "leased")
        .values(state="free", annotator_id=None, claimed_at=None, lease_until=None)
        .returning(Seat.id)
        .execution_options(synchronize_session=False)
    ).first()
    mine = (Skip.task_id == task_id, Skip.annotator_id == annotator_id)
    known = connection.execute(select(Skip.reason).where(*mine)).first()
    if freed is None and known is None:
        if connection.execute(select(Label.id).where(Label.task_id == task_id, Label.annotator_id == annotator_id)).first():
            raise Conflict(_("You have answered this task already. You can open it again and change your verdict."))
        raise NotFound(_("This task was never given to you."))
    if known is not None and known.reason == LEASE_EXPIRED:
        connection.execute(delete(Skip).where(*mine))  # now it is the person who says so
        known = None
    if known is None:
        connection.execute(insert(Skip).values(task_id=task_id, annotator_id=annotator_id, reason=reason, created_at=now))
