"""A comparison that is answered at once stands in no queue, and shows its sides as they were."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, select

from app.database.engine import write_session
from app.models import Project, Seat, Task, utc_now
from app.queue.at_once import ask_at_once
from app.queue.claim import second_stands_left
from tests.app import factories
from tests.app.conftest import Cast


def test_the_queues_coin_puts_the_answers_where_they_stood(engine: Engine, cast: Cast) -> None:
    since = utc_now() - timedelta(seconds=9)
    coins = set()
    with write_session(engine) as session:
        policy_id = session.get_one(Project, cast.demo).policy_id
        assert policy_id is not None
        for _ in range(12):
            prompt = factories.make_prompt(session, cast.demo)
            left, right = (factories.make_generation(session, prompt, policy_id).id for _ in range(2))
            made = ask_at_once(session.connection(), cast.demo, prompt.id, (left, right), cast.mary, since=since)
            task, seat = session.get_one(Task, made), session.scalars(select(Seat).where(Seat.task_id == made)).one()
            coin = second_stands_left(made, cast.mary)
            coins.add(coin)
            answers = (task.first_generation_id, task.second_generation_id)
            assert (answers[::-1] if coin else answers) == (left, right)
            assert (seat.state, seat.annotator_id, seat.swapped, seat.claimed_at) == ("leased", cast.mary, coin, since)
    assert coins == {True, False}
