"""Claiming: one seat for one person, the oldest first, nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, update

from app.database.engine import write_session
from app.errors import Conflict
from app.models import Generation, Project, Seat, Skip, Task
from app.queue import lease
from app.queue.claim import MOST_HELD, ServedTask, claim_next, reopen, second_stands_left
from tests.app import factories
from tests.app.conftest import Cast

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=10)


def make_tasks(engine: Engine, project_id: int, count: int, *, seats: int = 1, kind: str = "comparison") -> list[int]:
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        return [factories.make_task(session, project, kind, seats=seats).id for _ in range(count)]


def claim(engine: Engine, project_id: int, annotator_id: int, now: datetime = NOON) -> ServedTask | None:
    with write_session(engine) as session:
        return claim_next(session.connection(), project_id, annotator_id, now=now, lease=LEASE)


def claimed(engine: Engine, project_id: int, annotator_id: int, now: datetime = NOON) -> int:
    task = claim(engine, project_id, annotator_id, now)
    assert task is not None
    return task.id


def finish(engine: Engine, task_id: int, annotator_id: int) -> None:
    with write_session(engine) as session:
        seat = session.scalars(select(Seat).where(Seat.task_id == task_id, Seat.annotator_id == annotator_id)).one()
        seat.state = "done"


def skip(engine: Engine, task_id: int, annotator_id: int, reason: str = "") -> None:
    with write_session(engine) as session:
        lease.skip(session.connection(), task_id, annotator_id, reason, now=NOON)


def test_the_oldest_task_comes_first(engine: Engine, cast: Cast) -> None:
    oldest, second, _ = make_tasks(engine, cast.demo, 3)

    assert claimed(engine, cast.demo, cast.mary) == oldest
    assert claimed(engine, cast.demo, cast.alan) == second


def test_a_reload_shows_the_same_task_and_takes_no_second_seat(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 3)
    first = claim(engine, cast.demo, cast.mary)

    again = claim(engine, cast.demo, cast.mary, NOON + timedelta(minutes=5))

    assert first is not None
    assert again is not None
    assert (again.id, again.left, again.right) == (first.id, first.left, first.right)
    assert again.lease_until == NOON + timedelta(minutes=15)
    with write_session(engine) as session:
        seats = session.scalars(select(Seat).where(Seat.annotator_id == cast.mary)).all()
        assert [(seat.state, seat.claimed_at) for seat in seats] == [("leased", NOON)]


def test_one_seat_is_never_held_by_two(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)

    assert claim(engine, cast.demo, cast.alan) is None


def test_a_person_never_gets_two_seats_of_one_task(engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2, seats=3)
    assert claimed(engine, cast.demo, cast.mary) == first
    finish(engine, first, cast.mary)

    assert claimed(engine, cast.demo, cast.mary) == second
    finish(engine, second, cast.mary)
    assert claim(engine, cast.demo, cast.mary) is None
    assert claimed(engine, cast.demo, cast.alan) == first


def test_a_skipped_task_does_not_come_back_to_who_skipped_it(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    skip(engine, task_id, cast.mary)

    assert claim(engine, cast.demo, cast.mary) is None
    assert claimed(engine, cast.demo, cast.alan) == task_id


def ahead(engine: Engine, project_id: int, annotator_id: int, *besides: int, now: datetime = NOON) -> int | None:
    with write_session(engine) as session:
        task = claim_next(session.connection(), project_id, annotator_id, now=now, lease=LEASE, besides=besides)
    return task.id if task else None


def give_back(engine: Engine, task_id: int, annotator_id: int, until: datetime = NOON + LEASE) -> None:
    with write_session(engine) as session:
        lease.give_back(session.connection(), task_id, annotator_id, until, now=NOON)


def test_one_more_task_can_be_fetched_ahead_and_is_the_same_one_when_asked_again(engine: Engine, cast: Cast) -> None:
    first, second, third = make_tasks(engine, cast.demo, 3)
    claimed(engine, cast.demo, cast.mary)

    assert ahead(engine, cast.demo, cast.mary, first) == second
    assert ahead(engine, cast.demo, cast.mary, first) == second
    assert ahead(engine, cast.demo, cast.mary, first, second) == third
    assert claimed(engine, cast.demo, cast.mary, NOON + timedelta(seconds=1)) == first  # a reload shows what was in hand
    assert claim(engine, cast.demo, cast.alan) is None


def test_a_reload_shows_what_was_claimed_first_even_when_its_number_is_higher(engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    claimed(engine, cast.demo, cast.alan)
    assert claimed(engine, cast.demo, cast.mary) == second
    give_back(engine, first, cast.alan)

    assert ahead(engine, cast.demo, cast.mary, second, now=NOON + timedelta(seconds=1)) == first
    assert claimed(engine, cast.demo, cast.mary, NOON + timedelta(seconds=2)) == second


def test_nobody_hoards_seats(engine: Engine, cast: Cast) -> None:
    tasks = make_tasks(engine, cast.demo, 6)
    held = [claimed(engine, cast.demo, cast.mary)]
    while (more := ahead(engine, cast.demo, cast.mary, *held)) is not None:
        held.append(more)

    assert held == tasks[:MOST_HELD]
    assert claimed(engine, cast.demo, cast.alan) == tasks[MOST_HELD]


def test_a_seat_given_back_goes_to_the_next_person_who_asks(engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    claimed(engine, cast.demo, cast.mary)
    ahead(engine, cast.demo, cast.mary, first)
    give_back(engine, second, cast.mary)

    assert claimed(engine, cast.demo, cast.alan, NOON + timedelta(seconds=1)) == second


def test_who_gave_a_seat_back_has_it_again_while_nobody_else_wants_it(engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    claimed(engine, cast.demo, cast.mary)
    ahead(engine, cast.demo, cast.mary, first)
    give_back(engine, second, cast.mary)

    assert ahead(engine, cast.demo, cast.mary, first, now=NOON + timedelta(seconds=1)) == second
    assert claim(engine, cast.demo, cast.alan, NOON + timedelta(minutes=5)) is None


def test_who_gave_a_seat_back_may_have_the_task_when_it_comes_free_again(engine: Engine, cast: Cast) -> None:
    """Given back, had and lost by somebody else: it is still open. Losing it to the clock is what closes it."""
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    give_back(engine, task_id, cast.mary)
    claimed(engine, cast.demo, cast.alan)
    later = NOON + timedelta(minutes=11)

    assert claimed(engine, cast.demo, cast.mary, later) == task_id
    assert claim(engine, cast.demo, cast.alan, later) is None
    assert claimed(engine, cast.demo, cast.grace, later + LEASE + LEASE) == task_id
    skip(engine, task_id, cast.grace)
    assert claim(engine, cast.demo, cast.mary, later + LEASE + LEASE) is None


def test_a_seat_can_be_given_back_again_and_then_be_skipped(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    for _ in range(2):
        claimed(engine, cast.demo, cast.mary)
        give_back(engine, task_id, cast.mary)
    claimed(engine, cast.demo, cast.mary)
    skip(engine, task_id, cast.mary)

    assert claim(engine, cast.demo, cast.mary) is None


@pytest.mark.parametrize("renewed", [True, False])
def test_a_late_return_of_another_lease_ends_no_lease_in_use(engine: Engine, cast: Cast, renewed: bool) -> None:
    """Fetched ahead by one tab; then kept on, or shown by another tab of the same person."""
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    later = NOON + timedelta(minutes=5)
    if renewed:
        with write_session(engine) as session:
            lease.renew(session.connection(), task_id, cast.mary, now=later, lease=LEASE)
    else:
        claimed(engine, cast.demo, cast.mary, later)

    with pytest.raises(Conflict, match="Nothing was given back"):
        give_back(engine, task_id, cast.mary)

    assert claim(engine, cast.demo, cast.alan, NOON + timedelta(minutes=14)) is None
    give_back(engine, task_id, cast.mary, later + LEASE)
    assert claimed(engine, cast.demo, cast.alan, NOON + timedelta(minutes=14)) == task_id


def test_giving_back_a_seat_of_somebody_else_changes_nothing(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    with pytest.raises(Conflict):
        give_back(engine, task_id, cast.alan)

    assert claim(engine, cast.demo, cast.alan, NOON + timedelta(seconds=1)) is None


def test_an_expired_seat_goes_to_the_next_person_who_asks(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)

    assert claim(engine, cast.demo, cast.alan, NOON + timedelta(minutes=9)) is None
    later = NOON + timedelta(minutes=11)
    assert claimed(engine, cast.demo, cast.alan, later) == task_id
    with write_session(engine) as session:
        seat = session.scalars(select(Seat)).one()
        assert (seat.annotator_id, seat.claimed_at) == (cast.alan, later)
        lost = session.scalars(select(Skip)).one()
        assert (lost.annotator_id, lost.reason) == (cast.mary, "lease expired")
    assert claim(engine, cast.demo, cast.mary, later) is None


def test_who_comes_back_late_keeps_a_seat_that_nobody_else_wanted(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)

    assert claimed(engine, cast.demo, cast.mary, NOON + timedelta(hours=3)) == task_id


def test_tasks_of_another_project_are_not_served(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.other, 1)

    assert claim(engine, cast.demo, cast.mary) is None


def test_the_search_goes_on_behind_many_tasks_that_this_person_had(engine: Engine, cast: Cast) -> None:
    tasks = make_tasks(engine, cast.demo, 105, seats=3)  # 210 free seats stay open to others, more than are looked at first
    for _ in tasks[:-1]:
        finish(engine, claimed(engine, cast.demo, cast.mary), cast.mary)

    assert claimed(engine, cast.demo, cast.mary) == tasks[-1]


def put_first(engine: Engine, task_ids: list[int]) -> None:
    """As a promotion does: their places are before all others, in the order they had."""
    with write_session(engine) as session:
        session.execute(update(Seat).where(Seat.task_id.in_(task_ids)).values(place=Seat.place - 2**40))


def test_seats_are_claimed_in_the_order_of_their_places(engine: Engine, cast: Cast) -> None:
    first, second, third, fourth = make_tasks(engine, cast.demo, 4)
    put_first(engine, [third, fourth])
    assert [claimed(engine, cast.demo, person) for person in (cast.mary, cast.alan, cast.grace)] == [third, fourth, first]
    late = NOON + LEASE + timedelta(seconds=1)
    assert claimed(engine, cast.demo, cast.eve, late) == third, "an expired seat before a free one behind it"
    assert claimed(engine, cast.demo, cast.eve, late) == third
    finish(engine, third, cast.eve)
    assert claimed(engine, cast.demo, cast.eve, late) == fourth
    finish(engine, fourth, cast.eve)
    assert claimed(engine, cast.demo, cast.eve, late) == first
    finish(engine, first, cast.eve)
    assert claimed(engine, cast.demo, cast.eve, late) == second


def test_what_was_put_first_is_found_in_its_order_by_who_has_had_many_tasks(engine: Engine, cast: Cast) -> None:
    """Also those that are more than are looked at first, and although their own last seat had stood behind these."""
    old = make_tasks(engine, cast.demo, 3, seats=3)
    finish(engine, claimed(engine, cast.demo, cast.mary), cast.mary)
    new = make_tasks(engine, cast.demo, 106, seats=3)
    put_first(engine, new)
    found = []
    for minute in range(107):
        found.append(claimed(engine, cast.demo, cast.mary, NOON + timedelta(minutes=minute)))
        finish(engine, found[-1], cast.mary)
    assert found == [*new, old[1]]


def test_a_seat_freed_far_behind_is_still_found(engine: Engine, cast: Cast) -> None:
    tasks = make_tasks(engine, cast.demo, 104, seats=3)
    for _ in tasks:
        task_id = claimed(engine, cast.demo, cast.mary)
        if task_id != tasks[102]:
            finish(engine, task_id, cast.mary)
        else:  # as if the seat had been given back without a trace
            with write_session(engine) as session:
                seat = session.scalars(select(Seat).where(Seat.task_id == task_id, Seat.annotator_id == cast.mary)).one()
                seat.state, seat.annotator_id = "free", None
                hidden = session.scalars(select(Seat).where(Seat.task_id == task_id)).all()
                for other in hidden:
                    other.project_id = cast.other
    with write_session(engine) as session:
        for seat in session.scalars(select(Seat).where(Seat.task_id == tasks[102])):
            seat.project_id = cast.demo

    assert claimed(engine, cast.demo, cast.mary) == tasks[102]


def test_sides_are_even_and_stay_the_same_for_one_person(engine: Engine, cast: Cast) -> None:
    coins = [second_stands_left(task_id, annotator_id) for task_id in range(1, 1001) for annotator_id in (1, 2)]

    assert 0.46 < sum(coins) / len(coins) < 0.54
    assert second_stands_left(7, 3) == second_stands_left(7, 3)
    assert any(second_stands_left(task_id, 1) != second_stands_left(task_id, 2) for task_id in range(1, 20))


def test_the_stored_side_is_the_one_that_was_shown(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 8)
    swapped = set()
    for _ in range(8):
        shown = claim(engine, cast.demo, cast.mary)
        assert shown is not None
        with write_session(engine) as session:
            task = session.get_one(Task, shown.id)
            assert task.second_generation_id is not None
            first, second = (
                session.get_one(Generation, task.first_generation_id),
                session.get_one(Generation, task.second_generation_id),
            )
            seat = session.scalars(select(Seat).where(Seat.task_id == shown.id)).one()
            expected = (second.text, first.text) if seat.swapped else (first.text, second.text)
            assert (shown.left, shown.right) == expected
            swapped.add(seat.swapped)
        finish(engine, shown.id, cast.mary)
    assert swapped == {True, False}


def test_an_answer_that_the_length_limit_cut_says_so_on_the_side_where_it_stands(engine: Engine, cast: Cast) -> None:
    tasks = make_tasks(engine, cast.demo, 8)
    with write_session(engine) as session:
        for task_id in tasks:
            cut = session.get_one(Generation, session.get_one(Task, task_id).first_generation_id)
            cut.finish_reason, cut.text = "length", "And so it goes on and"
    sides = set()
    for _ in tasks:
        shown = claim(engine, cast.demo, cast.mary)
        assert shown is not None
        assert {shown.left: shown.left_cut, shown.right: shown.right_cut}["And so it goes on and"]
        assert shown.left_cut != shown.right_cut
        sides.add(shown.left_cut)
        finish(engine, shown.id, cast.mary)
    assert sides == {True, False}


def test_a_task_opens_again_as_it_was_shown_but_only_to_who_had_it(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    shown = claim(engine, cast.demo, cast.mary)
    finish(engine, task_id, cast.mary)

    with write_session(engine) as session:
        connection = session.connection()
        again = reopen(connection, cast.demo, cast.mary, task_id)
        assert shown is not None
        assert again is not None
        assert (again.left, again.right, again.messages) == (shown.left, shown.right, shown.messages)
        assert reopen(connection, cast.demo, cast.alan, task_id) is None
        assert reopen(connection, cast.other, cast.mary, task_id) is None


def test_a_rating_has_one_answer(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1, kind="rating")

    task = claim(engine, cast.demo, cast.mary)

    assert task is not None
    assert (task.kind, task.right) == ("rating", None)
    assert task.left.startswith("Answer")
