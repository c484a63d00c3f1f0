"""The lead of a queue follows how fast people answer and how long answers take, within bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Label, Project, Run, Seat, utc_now
from app.queue import make_tasks, pace
from app.runs import refill
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import label_task


@pytest.fixture
def demo(session: Session, cast: Cast) -> Project:
    project = session.get_one(Project, cast.demo)
    project.queue_low_mark = 5
    return project


def answers(session: Session, project: Project, person: int, count: int, every_s: float, *, number: int = 1) -> None:
    """So many verdicts on new tasks up to now."""
    now = utc_now()
    for place in range(count):
        task = factories.make_task(session, project, seats=number)
        seat = session.scalars(select(Seat).where(Seat.task_id == task.id, Seat.number == number)).one()
        for one in session.scalars(select(Seat).where(Seat.task_id == task.id)):
            one.state, one.annotator_id = "done", person if one is seat else None
            if one is not seat:
                session.delete(one)
        label_task(session, task, person, seat_id=seat.id, created_at=now - timedelta(seconds=every_s * (count - place)))


def wrote(session: Session, project: Project, prompts: int, seconds: float, *, waited_s: float = 0.0, **values: Any) -> Run:
    """A run that answered so many prompts, in so many seconds, and ended a while ago."""
    ended = utc_now() - timedelta(hours=1)
    began = ended - timedelta(seconds=seconds)
    inputs = {"checkpoint": project.policy_id, "prompt_ids": list(range(1, prompts + 1))}
    run = factories.make_run(session, project.id, **{"inputs": inputs, **values})
    run.state, run.queued_at, run.started_at, run.ended_at = "done", began - timedelta(seconds=waited_s), began, ended
    session.flush()
    return run


def test_the_queue_runs_low_before_people_have_answered_it_while_more_is_written(
    session: Session, demo: Project, cast: Cast
) -> None:
    for _ in range(30):
        factories.make_task(session, demo)
    assert not make_tasks.refill_needed(session, demo)
    answers(session, demo, cast.mary, 20, every_s=2.0)
    wrote(session, demo, 64, 50, waited_s=10)
    assert pace.lead(session, demo) == 60, "a task each two seconds, for twice a minute"
    assert make_tasks.refill_needed(session, demo)


def test_an_empty_desk_makes_nobody_slow(session: Session, demo: Project, cast: Cast) -> None:
    answers(session, demo, cast.mary, 40, every_s=2.0)
    wrote(session, demo, 64, 60)
    for one in session.scalars(select(Label).order_by(Label.id)).all()[:20]:
        one.created_at -= timedelta(minutes=10)  # then there was nothing to answer for ten minutes
    session.flush()
    assert pace.lead(session, demo) == pytest.approx(60, abs=18)


def test_only_who_sits_down_first_uses_up_what_is_open_to_all(session: Session, demo: Project, cast: Cast) -> None:
    answers(session, demo, cast.mary, 20, every_s=2.0, number=2)
    wrote(session, demo, 64, 60)
    assert pace.lead(session, demo) == demo.queue_low_mark


def test_nobody_waits_for_people_who_have_gone_and_not_for_ever_more(session: Session, demo: Project, cast: Cast) -> None:
    answers(session, demo, cast.mary, 20, every_s=2.0)
    assert pace.lead(session, demo) == demo.queue_low_mark, "nothing was written yet: nobody knows how long it takes"
    wrote(session, demo, 64, 7200)
    assert pace.lead(session, demo) == pace.MOST
    demo.queue_low_mark = 2000
    assert pace.lead(session, demo) == 2000, "what an admin asks for stands"
    demo.queue_low_mark = 5
    for one in session.scalars(select(Label)):
        one.created_at -= pace.REMEMBERED
    session.flush()
    assert pace.lead(session, demo) == 5


def test_answers_to_held_out_prompts_and_of_rounds_tell_nothing(session: Session, demo: Project, cast: Cast) -> None:
    answers(session, demo, cast.mary, 20, every_s=2.0)
    wrote(session, demo, 64, 60, inputs={"checkpoint": demo.policy_id, "prompt_ids": [1], "split": "holdout"})
    wrote(session, demo, 64, 60, inputs={"checkpoint": demo.policy_id})
    assert pace.lead(session, demo) == 5


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(32, 64), (60, 120), (90, 170), (3600, 64)],
    ids=["few are needed", "as many as are to be open", "no longer than two minutes", "never less, however long they take"],
)
def test_a_crowd_is_written_more_for_at_once_where_that_takes_not_long(
    session: Session, demo: Project, cast: Cast, seconds: float, wanted: int
) -> None:
    answers(session, demo, cast.mary, 21, every_s=1.0)
    wrote(session, demo, 64 if seconds != 90 else 128, seconds)
    assert refill.PROMPTS == 64
    assert pace.prompts_at_once(session, demo, refill.PROMPTS) == wanted


def test_a_refill_for_a_crowd_answers_more_prompts(session: Session, demo: Project, cast: Cast) -> None:
    answers(session, demo, cast.mary, 40, every_s=1.0)
    for _ in range(60):
        factories.make_prompt(session, demo.id)
    assert len(refill.refill_prompts(session, demo)) == refill.PROMPTS
    wrote(session, demo, 64, 50)
    assert len(refill.refill_prompts(session, demo)) == 100
    demo.previous_policy_id = factories.make_checkpoint(session, demo.id).id
    session.flush()
    planned = refill.plan_refill(session, demo)
    assert planned is not None
    assert (len(planned.prompt_ids), len(planned.beside)) == (50, 50), "two policies write in the time of one"
