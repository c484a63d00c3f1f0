"""What stands next in the queue and what was answered last, by kind of question and by why it was asked.

Looks at a bounded part of either, so that a queue of a million places is explained as quickly as one of ten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Label, Seat, Task

LOOKED_AT: Final = 1000  # places that come next, and verdicts that came last
KINDS: Final = ("comparison", "rating", "ranking")
# Why a task is asked. `uncertain` is no rule of the queue any more: old labels may say it.
REASONS: Final = ("random", "evaluation", "repeat", "gold", "chat", "feedback", "review", "uncertain")


@dataclass(frozen=True, slots=True)
class Part:
    """What is alike among the places that come next and the verdicts that came last."""

    name: str  # of KINDS or REASONS
    waiting: int
    given: int


@dataclass(frozen=True, slots=True)
class Queue:
    """`waiting` and `given` are at most LOOKED_AT, and the reasons add up to them."""

    waiting: int  # free places, the next ones
    given: int  # verdicts in force, the newest
    kinds: tuple[Part, ...]  # of what is asked to train by, as are the shares that a project wants
    reasons: tuple[Part, ...]  # those of which there is any


def explain(session: Session, project_id: int) -> Queue:
    """A project's queue as it stands."""
    places = (
        select(Task.kind, Task.served_reason)
        .join_from(Seat, Task, Task.id == Seat.task_id)
        .where(Seat.project_id == project_id, Seat.state == "free")
        .order_by(Seat.place, Seat.id)
        .limit(LOOKED_AT)
    )
    verdicts = (
        select(Label.kind, Label.served_reason)
        .where(Label.project_id == project_id, Label.current)
        .order_by(Label.id.desc())
        .limit(LOOKED_AT)
    )
    waiting, given = session.execute(places).all(), session.execute(verdicts).all()
    return Queue(
        len(waiting),
        len(given),
        _parts(KINDS, *((kind for kind, reason in rows if reason == "random") for rows in (waiting, given))),
        tuple(
            part for part in _parts(REASONS, (row[1] for row in waiting), (row[1] for row in given)) if part.waiting or part.given
        ),
    )


def _parts(names: Sequence[str], waiting: Iterable[Any], given: Iterable[Any]) -> tuple[Part, ...]:
    before, after = Counter(waiting), Counter(given)
    return tuple(Part(name, before[name], after[name]) for name in names)
