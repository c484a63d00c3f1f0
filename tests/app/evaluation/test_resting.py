"""Blind over people: nobody answers an evaluation alone while others are there, and no prompt follows itself at one desk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from app.database.engine import read_session, write_session
from app.evaluation.resting import ACTIVE, AHEAD_BY, rests
from app.evaluation.service import cancel
from app.models import Evaluation, EvaluationRest, EvaluationTask, Label, Membership, Project, Task, User, utc_now
from app.queue.conditions import APART
from app.rounds import people_decide
from tests.app import factories
from tests.app.evaluation.judged import Judged, begin, evaluation_of, judge_next, taste
from tests.app.rounds.test_service import label_task
from tests.postgres import engine as on_postgres
from tests.postgres import server

__all__ = ["on_postgres", "server"]


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "sqlite" else "on_postgres")
    return found


def judged_by(engine: Engine, people: int, **settings: Any) -> Judged:
    """People who belong to the project and have each judged something today."""
    judged = begin(engine, people=people, **settings)
    with write_session(engine) as session:
        for person in judged.people:
            factories.make_membership(session, person, judged.project, "annotator")
    for person in judged.people:
        people_decide.look_after(engine, judged.project)
        assert judge_next(engine, judged.project, person, taste(0.5)) is not None
    return judged


def one_alone(engine: Engine, judged: Judged, person: int, most: int) -> list[int]:
    """What this person is asked while nobody else does anything, the worker looking after each."""
    found = []
    for _ in range(most):
        people_decide.look_after(engine, judged.project)
        served = judge_next(engine, judged.project, person, taste(0.5))
        if served is None:
            break
        found.append(served)
    return found


def verdicts(engine: Engine) -> Counter[int]:
    """In evaluations, by person."""
    with read_session(engine) as session:
        theirs = select(Label.annotator_id).join(EvaluationTask, EvaluationTask.task_id == Label.task_id)
        return Counter(session.scalars(theirs))


def test_nobody_is_further_ahead_of_all_the_others_than_said(either: Engine) -> None:
    judged = judged_by(either, 2, prompts=40, train=60, evaluation_share=0.5)
    busy, other = judged.people
    served = one_alone(either, judged, busy, 60)
    given = verdicts(either)
    assert given[busy] == given[other] + AHEAD_BY
    assert len(served) == 60, "there are tasks of training, which tell nothing"
    with read_session(either) as session:
        assert rests(session, evaluation_of(either, judged)) == {busy}
    assert one_alone(either, judged, other, 8)
    assert verdicts(either)[other] > given[other]
    one_alone(either, judged, busy, 30)
    given = verdicts(either)
    assert given[busy] == given[other] + AHEAD_BY, "as soon as others have caught up they go on"


def test_who_rests_meets_nothing_that_tells_them_so(engine: Engine) -> None:
    """A planted leak: the evaluation is all that waits. An empty desk says what it says where others have the tasks."""
    judged = judged_by(engine, 2, prompts=40, train=0, evaluation_share=0.5)
    busy, other = judged.people
    one_alone(engine, judged, busy, 60)
    assert judge_next(engine, judged.project, busy, taste(0.5)) is None
    people_decide.look_after(engine, judged.project)
    assert judge_next(engine, judged.project, other, taste(0.5)) is not None
    people_decide.look_after(engine, judged.project)
    assert judge_next(engine, judged.project, busy, taste(0.5)) is not None


@pytest.mark.parametrize("why", ["alone", "away", "paused", "removed", "left", "nobody moved it"])
def test_where_nobody_else_is_there_one_goes_on(engine: Engine, why: str) -> None:
    judged = judged_by(engine, 1 if why == "alone" else 2, prompts=30, train=0)
    busy, other = judged.people[0], judged.people[-1]
    before = utc_now() - ACTIVE - timedelta(minutes=1)
    with write_session(engine) as session:
        theirs = Membership.user_id == other
        if why == "away":
            session.execute(update(Label).where(Label.annotator_id == other).values(created_at=before))
        elif why == "paused":
            session.execute(update(Membership).where(theirs).values(paused_at=utc_now()))
        elif why == "removed":
            session.delete(session.scalars(select(Membership).where(theirs)).one())
        elif why == "left":
            session.get_one(User, other).disabled_at = utc_now()
        elif why == "nobody moved it":
            session.get_one(Evaluation, judged.evaluation).opened_at = before
            asked = Label.task_id.in_(select(EvaluationTask.task_id))
            session.execute(update(Label).where(Label.annotator_id == other, asked).values(created_at=before))
            label_task(session, factories.make_task(session, session.get_one(Project, judged.project)), other)
    one_alone(engine, judged, busy, 4 * AHEAD_BY)
    given = verdicts(engine)
    assert given[busy] > given[other] * (other != busy) + 2 * AHEAD_BY


def test_once_it_is_decided_nobody_rests(engine: Engine) -> None:
    judged = judged_by(engine, 2, prompts=30, train=0)
    one_alone(engine, judged, judged.people[0], 30)
    with write_session(engine) as session:
        assert session.scalars(select(EvaluationRest)).all()
    with write_session(engine) as session:
        cancel(session, session.get_one(Evaluation, judged.evaluation))
        assert not session.scalars(select(EvaluationRest)).all()


def prompts_of(engine: Engine, task_ids: list[int]) -> list[int]:
    with read_session(engine) as session:
        by = dict(session.execute(select(Task.id, Task.prompt_id)).all())
    return [by[task_id] for task_id in task_ids]


def gaps(prompts: list[int]) -> Iterator[int]:
    """How many tasks lie between two that ask about the same prompt."""
    last: dict[int, int] = {}
    for at, prompt in enumerate(prompts):
        if prompt in last:
            yield at - last[prompt]
        last[prompt] = at


def test_a_prompt_comes_back_to_a_person_only_after_others(either: Engine) -> None:
    """A planted leak: an evaluation asks four pairs of each prompt, training one. Close to each other they would tell."""
    judged = judged_by(either, 1, prompts=40, train=120, evaluation_share=0.3)
    served = one_alone(either, judged, judged.people[0], 80)
    assert len(served) == 80
    found = list(gaps(prompts_of(either, served)))
    assert found, "the evaluation has asked about some prompt again"
    assert min(found) > APART


def test_where_nothing_else_waits_it_comes_all_the_same(engine: Engine) -> None:
    judged = judged_by(engine, 1, prompts=3, train=0)
    served = one_alone(engine, judged, judged.people[0], 30)
    assert len(served) > 3, "three prompts, four pairs of each"
    assert min(gaps(prompts_of(engine, served))) <= APART
