"""Give a person a task: take one seat, for some minutes.

Nobody is asked the same task twice, nobody holds two seats of one task, and a page that is loaded again shows the task it
showed before. A prompt comes back to a person after some others, while there are others; who rests in an evaluation is asked
about other things. Which answer stands left is drawn here, by the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningUpdate

from app.database.prepared import Prepared
from app.models import Generation, Label, Project, Prompt, RankedAnswer, Seat, Skip, Task, User, Utc
from app.models.criteria import asked, offered
from app.queue.conditions import LEASE_EXPIRED, ME, for_them_or_chosen, had, not_had, not_just_had, not_resting, open_to

NEAR: Final = 200  # open seats looked at, oldest first, before the search starts behind the person's own last seat
FRONT: Final = -(2**62)  # before and behind every place that a seat can have
BACK: Final = 2**62
Ended = tuple[int | None, str]  # the run or checkpoint that wrote an answer, if one did, and how it ended
MOST_HELD: Final = 4  # seats one person may hold: the one in hand, the next ones, and verdicts that are still on their way


@dataclass(frozen=True, slots=True)
class ServedTask:
    """A task as its annotator may see it: nothing here tells which model wrote what."""

    id: int
    kind: str
    lease_until: datetime | None  # none: it is answered already, or somebody else has the seat now
    messages: list[dict[str, str]]
    left: str  # the answer shown first; a rating's only one, a ranking's first
    right: str | None
    criteria: list[dict[str, Any]]
    guideline_version: int
    left_cut: bool = False  # the length limit ended the answer, not its writer
    right_cut: bool = False
    rubric: Sequence[Mapping[str, Any]] = ()  # `app.models.criteria.asked`; none is asked about a ranking
    span_reasons: Sequence[Mapping[str, Any]] = ()  # `app.models.criteria.offered`; in a ranking nothing is marked
    answers: tuple[tuple[str, bool], ...] = ()  # of a ranking: all of them as they are shown, and whether each was cut


def claim_next(
    connection: Connection,
    project_id: int,
    annotator_id: int,
    *,
    now: datetime,
    lease: timedelta,
    besides: Collection[int] = (),
    kept: str = "",
    place: int | None = None,
) -> ServedTask | None:
    """The task this person holds already, else the oldest one still open to them, else none.

    `besides` names tasks they have in hand, for a page that fetches the next one ahead. Runs in the caller's write
    transaction. `lease` is how long the seat is kept. `kept`: the audiences of prompts that are not for them. `place`: where
    `open_place` found a seat a moment ago; no other is looked for than there and shortly behind.
    """
    if connection.dialect.name != "sqlite":  # where writers do not queue, one person's claims do
        connection.execute(_ONE_AT_A_TIME, {"me": annotator_id})
    until = now + lease
    while (seat := _open_seat(connection, project_id, annotator_id, now, besides, kept, place)) is not None:
        task = _taken(connection, seat, annotator_id, now, until)
        if task is not None:
            return task
        # PostgreSQL: somebody else was quicker
    return None


def open_place(
    connection: Connection, project_id: int, annotator_id: int, *, now: datetime, besides: Collection[int], kept: str
) -> int | None:
    """Where the seat stands that `claim_next` would take, as far as it looks; none if there is none. Only reads."""
    seat = _open_seat(connection, project_id, annotator_id, now, besides, kept)
    return None if seat is None else int(seat.place)


def claim_held(
    connection: Connection,
    project_id: int,
    annotator_id: int,
    *,
    now: datetime,
    lease: timedelta,
    besides: Collection[int] = (),
) -> ServedTask | None:
    """The task this person holds already, else none: where nobody is given a new one. Otherwise like `claim_next`."""
    if connection.dialect.name != "sqlite":
        connection.execute(_ONE_AT_A_TIME, {"me": annotator_id})
    for seat in connection.execute(_HELD, {"project": project_id, "me": annotator_id}).all():
        if seat.task_id not in besides:
            return _taken(connection, seat, annotator_id, now, now + lease)
    return None


def _taken(connection: Connection, seat: Any, annotator_id: int, now: datetime, until: datetime) -> ServedTask | None:
    """The task of this row of `_SEAT`, kept for the person until then; none where somebody else has it."""
    coin = second_stands_left(seat.task_id, annotator_id)
    taken = _TAKE.first(connection, {"seat": seat.id, "me": annotator_id, "swapped_now": coin, "now": now, "until": until})
    if taken is None:
        return None
    if seat.annotator_id not in (None, annotator_id):
        _remember_lost_lease(connection, seat.task_id, seat.annotator_id, now)
    shown = _SHOWN.first(connection, {"task": seat.task_id})
    return _with_answers(connection, _served(shown, taken.swapped, until), annotator_id)


def reopen(connection: Connection, project_id: int, annotator_id: int, task_id: int) -> ServedTask | None:
    """A task this person has had before (answered, skipped or lost), shown as it was shown then; none if they never had it."""
    row = connection.execute(_REOPENED, {"project": project_id, "me": annotator_id, "task": task_id}).first()
    if row is None:
        return None
    return _with_answers(connection, _served(row, second_stands_left(task_id, annotator_id), None), annotator_id)


def shown_to(connection: Connection, task_id: int, person_id: int) -> ServedTask:
    """A task as this person would see it, whether they were asked or not: for who settles what others differ on."""
    served = _served(_SHOWN.first(connection, {"task": task_id}), second_stands_left(task_id, person_id), None)
    return _with_answers(connection, served, person_id)


def second_stands_left(task_id: int, annotator_id: int) -> bool:
    """The coin that decides the sides: even over tasks and people, and the same each time one person sees one task.

    A verdict that arrives after its lease was lost still knows what stood where. First and second are themselves in
    random order, so the coin tells nobody which model wrote what.
    """
    return bool(hashlib.blake2b(b"%d side %d" % (task_id, annotator_id), digest_size=1).digest()[0] & 1)


def ranked_answers(connection: Connection, task_id: int, annotator_id: int) -> list[Row[Any]]:
    """A ranking's answers in the order in which this person sees them: drawn by the server, and the same each time."""

    def lot(row: Row[Any]) -> bytes:
        return hashlib.blake2b(b"%d answer %d of %d" % (task_id, row.number, annotator_id), digest_size=8).digest()

    return sorted(connection.execute(_RANKED, {"task": task_id}), key=lot)


def _with_answers(connection: Connection, task: ServedTask, annotator_id: int) -> ServedTask:
    if task.kind != "ranking":
        return task
    rows = ranked_answers(connection, task.id, annotator_id)
    known = all(row.by is not None for row in rows)  # as for two: `cut_marks`
    answers = tuple((row.text, known and row.ended == "length") for row in rows)
    return replace(task, left=answers[0][0], left_cut=answers[0][1], answers=answers)


def _open_seat(
    connection: Connection,
    project_id: int,
    annotator_id: int,
    now: datetime,
    besides: Collection[int],
    kept: str,
    place: int | None = None,
) -> Any:  # a row of `_SEAT`, or none
    """The seat this person holds, or the oldest they may take.

    Where tasks have several seats, a busy person has had most of the oldest ones. The search therefore looks at the oldest
    few, then from that person's own last seat on, and only then at everything: there it takes a prompt, too, that they have
    just had. With a `place` it looks at the few from there on, for either.
    """
    values: dict[str, Any] = {"project": project_id, "me": annotator_id, "now": now}
    held_or, unheld, at_last = _SEARCHES
    if kept:
        values["kept"] = kept
        held_or, unheld, at_last = _SEARCHES_OF_SOME
    candidate = held_or
    if besides:
        held = connection.execute(_HELD, values).all()
        for own in held:
            if own.task_id not in besides:
                return own
        if len(held) >= MOST_HELD:
            return None
        candidate = unheld
    if place is not None:
        here = values | {"after": place - 1, "upto": BACK, "near": NEAR}
        return candidate.first(connection, here) or at_last.first(connection, here)
    seat = candidate.first(connection, values | {"after": FRONT, "upto": BACK, "near": NEAR})
    if seat is None:
        last = connection.execute(_LAST_PLACE, {"project": project_id, "me": annotator_id}).scalar()
        after = FRONT if last is None else last
        seat = candidate.first(connection, values | {"after": after, "upto": BACK, "near": BACK})
        if seat is None:
            seat = at_last.first(connection, values | {"after": FRONT, "upto": BACK, "near": BACK})
    return seat


def _remember_lost_lease(connection: Connection, task_id: int, annotator_id: int, now: datetime) -> None:
    """Who lost a seat to somebody else is not asked again, and a late verdict of theirs is still accepted."""
    mine = (Skip.task_id == task_id, Skip.annotator_id == annotator_id)
    connection.execute(delete(Skip).where(*mine))  # given back once, and fetched again
    lost = {"task_id": task_id, "annotator_id": annotator_id, "reason": LEASE_EXPIRED, "created_at": now}
    connection.execute(insert(Skip).values(lost))


def _served(row: Row[Any], swapped: bool, until: datetime | None) -> ServedTask:
    second_end = (row.second_by, row.second_ended) if row.second is not None else None
    first_cut, second_cut = cut_marks((row.first_by, row.first_ended), second_end)
    first, second = (row.first, first_cut), (row.second, second_cut)
    (left, left_cut), (right, right_cut) = (second, first) if swapped and row.second is not None else (first, second)
    shown = (row.criteria, row.guideline_version, left_cut, right_cut)
    of_answers = ([], []) if row.kind == "ranking" else (asked(row.rubric), offered(row.span_reasons))
    return ServedTask(row.task_id, row.kind, until, row.messages, left, right, *shown, *of_answers)


def cut_marks(first: Ended, second: Ended | None) -> tuple[bool, bool]:
    """Which of a task's answers are marked as cut by the length limit; each by what wrote it here and how it ended.

    Of an answer that was brought in nobody knows that, and beside one there is no mark at all: it would tell whose the
    other is.
    """
    ends = [first] if second is None else [first, second]
    known = all(by is not None for by, _how in ends)
    cut = [known and how == "length" for _by, how in ends]
    return cut[0], len(cut) > 1 and cut[1]


# The statements, built once.

_first = aliased(Generation)
_second = aliased(Generation)
_now: ColumnElement[datetime] = bindparam("now", type_=Utc())
_SEAT: Final[tuple[Any, ...]] = (Seat.id, Seat.place, Seat.task_id, Seat.annotator_id)
IN_ORDER: Final = (Seat.place, Seat.id)  # in which seats are claimed; the index `ix_seats_queue` has it


def _shown() -> Select[Any]:
    return (
        select(
            Task.id.label("task_id"),
            Task.kind,
            Prompt.messages,
            _first.text.label("first"),
            _second.text.label("second"),
            _first.finish_reason.label("first_ended"),
            _second.finish_reason.label("second_ended"),
            func.coalesce(_first.run_id, _first.checkpoint_id).label("first_by"),
            func.coalesce(_second.run_id, _second.checkpoint_id).label("second_by"),
            Project.criteria,
            Project.rubric,
            Project.span_reasons,
            Project.guideline_version,
        )
        .join_from(Task, Prompt, Prompt.id == Task.prompt_id)
        .join(Project, Project.id == Task.project_id)
        .join(_first, _first.id == Task.first_generation_id)
        .outerjoin(_second, _second.id == Task.second_generation_id)
    )


def last_place(annotator_id: Any, project_id: Any) -> Select[int]:
    """Where in the queue the seat stands that this person took last of those they are done with."""
    return (
        select(Seat.place)
        .where(Seat.annotator_id == annotator_id, Seat.project_id == project_id, Seat.state == "done")
        .order_by(Seat.claimed_at.desc())
        .limit(1)
    )


def _held(limit: int) -> Select[Any]:
    """Seats this person holds, the one they have had longest first: a page that is loaded again shows what it showed."""
    return (
        select(*_SEAT, literal(0).label("rank"))
        .where(Seat.annotator_id == ME, Seat.state == "leased", Seat.project_id == bindparam("project"))
        .order_by(Seat.claimed_at, Seat.id)
        .limit(limit)
    )


def _candidate(*first: Select[Any], but: ColumnElement[bool]) -> CompoundSelect[Any]:
    """A row of `first`, else the older one of the oldest expired and the oldest free seat, both as `but` has them.

    The window's order is the index's, so both databases stop at the first row that passes.
    """
    window = (
        select(Seat.id, Seat.place)
        .where(
            Seat.project_id == bindparam("project"),
            Seat.state == "free",
            Seat.place > bindparam("after", type_=BigInteger()),
            Seat.place <= bindparam("upto", type_=BigInteger()),
        )
        .order_by(*IN_ORDER)
        .limit(bindparam("near", type_=BigInteger()))
        .subquery("window")
    )
    free = (
        select(*_SEAT, literal(1).label("rank"))
        .join_from(window, Seat, Seat.id == window.c.id)
        .join(Task, Task.id == Seat.task_id)
        .where(Seat.state == "free", open_to(ME), not_had(Seat.task_id), but)
        .order_by(window.c.place, window.c.id)  # a join need not keep the window's order
        .limit(1)
        .with_for_update(of=Seat, skip_locked=True)
    )
    expired = (
        select(*_SEAT, literal(1).label("rank"))
        .join(Task, Task.id == Seat.task_id)
        .where(Seat.project_id == bindparam("project"), Seat.state == "leased", Seat.lease_until < _now)
        .where(open_to(ME), not_had(Seat.task_id), but)
        .order_by(*IN_ORDER)
        .limit(1)
        .with_for_update(of=Seat, skip_locked=True)
    )
    branches = (select(branch.subquery(f"branch{number}")) for number, branch in enumerate((*first, expired, free)))
    return union_all(*branches).order_by(*map(literal_column, ("rank", "place", "id"))).limit(1)


def _searches(mine: ColumnElement[bool]) -> tuple[Prepared, Prepared, Prepared]:
    """With the seat they hold, without, and where there is nothing but prompts that they have just had."""
    fresh = and_(mine, not_just_had())
    return Prepared(_candidate(_held(1), but=fresh)), Prepared(_candidate(but=fresh)), Prepared(_candidate(but=mine))


def _take() -> ReturningUpdate[int, bool]:
    return (
        update(Seat)
        .where(
            Seat.id == bindparam("seat"),
            or_(Seat.state == "free", and_(Seat.state == "leased", or_(Seat.annotator_id == ME, Seat.lease_until < _now))),
        )
        .values(
            state="leased",
            swapped=bindparam("swapped_now"),
            claimed_at=case((Seat.annotator_id == ME, Seat.claimed_at), else_=_now),
            annotator_id=ME,
            lease_until=bindparam("until", type_=Utc()),
        )
        .returning(Seat.id, Seat.swapped)
        .execution_options(synchronize_session=False)
    )


_ONE_AT_A_TIME: Final = select(User.id).where(User.id == bindparam("me")).with_for_update()
_RANKED: Final = (
    select(
        RankedAnswer.number,
        RankedAnswer.generation_id,
        Generation.text,
        Generation.finish_reason.label("ended"),
        func.coalesce(Generation.run_id, Generation.checkpoint_id).label("by"),
    )
    .join(Generation, Generation.id == RankedAnswer.generation_id)
    .where(RankedAnswer.task_id == bindparam("task"))
)
_SHOWN: Final = Prepared(_shown().where(Task.id == bindparam("task")))
_REOPENED: Final = _shown().where(
    Task.id == bindparam("task"),
    Task.project_id == bindparam("project"),
    or_(*(had(table, Task.id) for table in (Seat, Skip, Label))),
)
_HELD: Final = _held(MOST_HELD)
_SEARCHES: Final = _searches(not_resting())  # of whom all prompts are for
_SEARCHES_OF_SOME: Final = _searches(and_(not_resting(), for_them_or_chosen()))
_TAKE: Final = Prepared(_take())
_LAST_PLACE: Final = last_place(ME, bindparam("project"))
