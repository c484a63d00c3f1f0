"""Checks join the queue: tasks that come back to the person who answered them, and tasks whose answer is known.

Nobody can tell them from the others. A check is put into the queue some tasks ahead of its person, in place of a task of
training that nobody has met: it takes that one's number and place, and nobody else may have it. The task that gave way is asked
under a new number behind all others of its kind, where new numbers belong. Which answer is first, and on which side it
stands, is drawn anew.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, or_, select
from sqlalchemy.orm import Session, aliased

from app.assignment import people
from app.labels.disputed import REVIEW
from app.models import NEXT_PLACE, Check, Gold, Label, Membership, Project, Prompt, Seat, Skip, Task, User, utc_now
from app.queue.asking import AHEAD, unmet
from app.queue.claim import IN_ORDER
from app.queue.conditions import GIVEN_BACK

Kind = Literal["repeat", "gold"]

FAR: Final = 40  # of their own labels lie between a task and its return, at least
FURTHEST: Final = 400  # and at most, of those that are looked at
LONGEST: Final = 1.5  # times the average: the longest gap between two checks of a kind
NEXT_TASKS: Final = 12  # where a check is put: one of the next tasks that nobody has met, at random
ACTIVE: Final = timedelta(minutes=30)
KEPT: Final = timedelta(days=1)  # a check that its person did not come to is taken out again


@dataclass(frozen=True, slots=True)
class Question:
    kind: Kind
    prompt_id: int
    answers: tuple[int, int | None]
    repeats_id: int | None = None
    gold_id: int | None = None


def who_works(session: Session, project: Project) -> list[int]:
    """Who gave a label lately, of the members and the owner."""
    members = select(Membership.user_id).where(Membership.project_id == project.id)
    recent = exists().where(
        Label.annotator_id == User.id,
        Label.created_at > utc_now() - ACTIVE,
        Label.project_id + 0 == project.id,  # by person: a project has far more labels
    )
    return sorted(session.scalars(select(User.id).where(or_(User.is_owner, User.id.in_(members)), recent)))


def next_question(session: Session, project: Project, user_id: int, draw: random.Random) -> Question | None:
    """Of the first kind that is due and of which there is any."""
    asked = (question(session, project, user_id, kind, draw) for kind in due(session, project, user_id))
    return next((one for one in asked if one is not None), None)


def due(session: Session, project: Project, user_id: int) -> list[Kind]:
    """What this person may be asked next, known answers first; nothing while a check waits for them, or they are paused."""
    waiting = select(Seat.id).where(Seat.reserved_for == user_id, Seat.project_id == project.id, Seat.state != "done")
    paused = select(Membership.id).where(
        Membership.project_id == project.id, Membership.user_id == user_id, Membership.paused_at.is_not(None)
    )
    if session.scalar(waiting.limit(1)) or session.scalar(paused):
        return []
    has_gold = session.scalar(select(Gold.id).where(Gold.project_id == project.id, Gold.retired_at.is_(None)).limit(1))
    shares: dict[Kind, float] = {"gold": project.gold_share if has_gold else 0.0, "repeat": project.repeat_share}
    return [kind for kind, share in shares.items() if share > 0 and _is_due(session, project, user_id, kind, share)]


def _is_due(session: Session, project: Project, user_id: int, kind: Kind, share: float) -> bool:
    last = _last(session, project, user_id, kind)
    enough = math.ceil(LONGEST / share)  # a longer gap is none: who has met every known answer is not counted further
    return _since(session, project, user_id, last, enough) >= _gap(project, user_id, kind, share, last)


def _last(session: Session, project: Project, user_id: int, kind: Kind) -> Check | None:
    of_kind = Check.gold_id.is_not(None) if kind == "gold" else Check.repeats_id.is_not(None)
    mine = select(Check).where(Check.project_id == project.id, Check.annotator_id == user_id, of_kind)
    return session.scalar(mine.order_by(Check.id.desc()).limit(1))


def _since(session: Session, project: Project, user_id: int, last: Check | None, most: int) -> int:
    """How many tasks they have answered since their last check; counted up to so many."""
    query = select(Label.id).where(Label.annotator_id == user_id, Label.project_id + 0 == project.id, Label.version == 1)
    if last is not None:
        query = query.where(Label.created_at > last.created_at)
    return session.scalar(select(func.count()).select_from(query.limit(most).subquery())) or 0


def _gap(project: Project, user_id: int, kind: Kind, share: float, last: Check | None) -> float:
    """Tasks between two checks of a kind: drawn once for each gap, so that no rhythm tells; 1 / share on average."""
    drawn = hashlib.blake2b(f"{project.id} {user_id} {kind} {last.id if last else 0}".encode(), digest_size=8).digest()
    return (LONGEST - 1.0 + int.from_bytes(drawn) / 2**64) / share


def question(session: Session, project: Project, user_id: int, kind: Kind, draw: random.Random) -> Question | None:
    """What this person may be asked so; none where there is nothing."""
    return (_gold if kind == "gold" else _repeat)(session, project, user_id, draw)


def _repeat(session: Session, project: Project, user_id: int, draw: random.Random) -> Question | None:
    """A task that they answered long enough ago, once."""
    theirs = (
        select(Label.id)
        .where(Label.annotator_id == user_id, Label.project_id + 0 == project.id, Label.version == 1)
        .where(Label.served_reason != REVIEW)
        .order_by(Label.id.desc())
        .offset(FAR)
        .limit(FURTHEST)
        .subquery()
    )
    first = aliased(Label)
    kept = people.kept_from_person(session, project, user_id)
    tasks = session.execute(
        select(Task)
        .join(first, first.task_id == Task.id)
        .join(theirs, theirs.c.id == first.id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.purpose.in_(("train", "evaluation")), Task.served_reason != "chat", Prompt.archived_at.is_(None))
        .where(Task.kind != "ranking", _is_for_them(kept))
        .where(exists().where(Label.task_id == Task.id, Label.annotator_id == user_id, Label.current))
        .where(~exists().where(Check.annotator_id == user_id, Check.repeats_id == Task.id))
    ).scalars()
    found = list(tasks)
    if not found:
        return None
    task = draw.choice(found)
    return Question("repeat", task.prompt_id, (task.first_generation_id, task.second_generation_id), repeats_id=task.id)


def _gold(session: Session, project: Project, user_id: int, draw: random.Random) -> Question | None:
    """A known answer that they have not met, and will not meet, neither as such nor as the task that it comes from."""
    met = or_(
        exists().where(Label.task_id == Gold.source_task_id, Label.annotator_id == user_id),
        exists().where(Skip.task_id == Gold.source_task_id, Skip.annotator_id == user_id),
        exists().where(Seat.task_id == Gold.source_task_id, Seat.state != "done"),
    )
    kept = people.kept_from_person(session, project, user_id)
    found = session.scalars(
        select(Gold)
        .join(Prompt, Prompt.id == Gold.prompt_id)
        .where(Gold.project_id == project.id, Gold.retired_at.is_(None), Prompt.archived_at.is_(None))
        .where(_is_for_them(kept))
        .where(~met, ~exists().where(Check.annotator_id == user_id, Check.gold_id == Gold.id))
    ).all()
    if not found:
        return None
    gold = draw.choice(found)
    return Question("gold", gold.prompt_id, (gold.first_generation_id, gold.second_generation_id), gold_id=gold.id)


def _is_for_them(kept: str) -> ColumnElement[bool]:
    """Of a prompt, by the audiences that are kept from somebody."""
    return or_(Prompt.audience.is_(None), Prompt.audience.not_in(kept.split("\n")))


def put_in(session: Session, project: Project, user_id: int, asked: Question, draw: random.Random) -> int | None:
    """Its task's number; None where nobody has a task ahead whose place it could take. The project is held."""
    gives_way = _next_task(session, project, draw)
    if gives_way is None:
        return None
    task, places = gives_way
    row = {column.key: getattr(task, column.key) for column in Task.__table__.columns}
    number = row.pop("id")
    session.expunge(task)
    for table, theirs in ((Seat, Seat.task_id == number), (Task, Task.id == number)):
        session.execute(delete(table).where(theirs).execution_options(synchronize_session=False))
    first, second = asked.answers if draw.random() < 0.5 or asked.answers[1] is None else reversed(asked.answers)
    check = row | {
        "id": number,
        "prompt_id": asked.prompt_id,
        "kind": "rating" if second is None else "comparison",
        "purpose": asked.kind,
        "first_generation_id": first,
        "second_generation_id": second,
        "served_reason": asked.kind,
        "reward_checkpoint_id": None,
    }
    session.execute(insert(Task), [check])
    seat = {"project_id": project.id, "task_id": number, "number": 1, "place": places[0], "reserved_for": user_id}
    session.connection().execute(insert(Seat), [seat])
    _put_behind(session, row, places)
    session.add(
        Check(
            project_id=project.id,
            task_id=number,
            annotator_id=user_id,
            repeats_id=asked.repeats_id,
            gold_id=asked.gold_id,
        )
    )
    session.flush()
    return int(number)


def _next_task(session: Session, project: Project, draw: random.Random) -> tuple[Task, list[int]] | None:
    """One of the next tasks of training that nobody has met, with the places of its seats."""
    ahead = (
        select(Seat.task_id)
        .join(Task, Task.id == Seat.task_id)
        .where(Seat.project_id == project.id, Seat.state == "free", Seat.number == 1, Seat.reserved_for.is_(None))
        .where(Task.purpose == "train", Task.kind != "ranking", *unmet())
        .order_by(*IN_ORDER)
        .limit(NEXT_TASKS)
    )
    numbers = session.scalars(ahead).all()
    if not numbers:
        return None
    number = draw.choice(numbers)
    # Kept first: whoever claims meanwhile passes it over, and whoever was faster is seen here.
    seats = session.execute(select(Seat.place).where(Seat.task_id == number).order_by(Seat.id).with_for_update()).scalars().all()
    task = session.scalar(select(Task).where(Task.id == number, *unmet()))
    return None if task is None or not seats else (task, list(seats))


def _put_behind(session: Session, row: dict[str, Any], places: Sequence[int]) -> None:
    """The task that gave way, under a new number, behind those that were made due together with it."""
    number = session.scalars(insert(Task).returning(Task.id), [row]).one()
    together = places[0] // AHEAD * AHEAD if places[0] < 0 else 0
    seats = [{"project_id": row["project_id"], "task_id": number, "number": place} for place in range(1, len(places) + 1)]
    session.connection().execute(insert(Seat).values(place=NEXT_PLACE + together), seats)


def unused(session: Session, project: Project) -> list[int]:
    """Tasks whose seat nobody will take: their person passed them over, or has not come for long."""
    passed_over = exists().where(Skip.task_id == Seat.task_id, Skip.annotator_id == Seat.reserved_for, Skip.reason != GIVEN_BACK)
    old = exists().where(Check.task_id == Seat.task_id, Check.created_at < utc_now() - KEPT)
    # By who they are kept for: a project has far more free seats.
    free = (Seat.project_id + 0 == project.id, Seat.state == "free", Seat.reserved_for.is_not(None))
    return list(session.scalars(select(Seat.task_id).where(*free, or_(passed_over, old))))


def take_out(session: Session, tasks: Sequence[int]) -> None:
    """Their free seats, and all of them that nobody has met."""
    session.execute(delete(Seat).where(Seat.task_id.in_(tasks), Seat.state == "free"))
    never_met = session.scalars(select(Task.id).where(Task.id.in_(tasks), *_nobody_met())).all()
    session.execute(delete(Check).where(Check.task_id.in_(never_met)))
    session.execute(delete(Task).where(Task.id.in_(never_met)))


def _nobody_met() -> tuple[ColumnElement[bool], ...]:
    seats = aliased(Seat)
    return (*unmet(), and_(~exists().where(seats.task_id == Task.id)))
