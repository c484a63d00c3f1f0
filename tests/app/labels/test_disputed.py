"""A task says whether people say different things about it, whatever they say, correct and take back."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.labels.disputed import is_contested
from app.labels.record import record_label
from app.labels.search import LabelFilter, count_labels, search_labels, with_tasks
from app.labels.verdict import Verdict
from app.labels.withdraw import withdraw
from app.models import Label, Project, Prompt, Seat, Task
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from tests.app.labels.test_grown import plans
from tests.app.labels.test_record import say
from tests.app.quality.adjudication.differing import differ, dispute_of
from tests.app.queue.test_claim import NOON, make_tasks

SAID: dict[str, list[dict[str, Any]]] = {
    "comparison": [{"choice": choice} for choice in ("left", "right", "tie", "both_bad")],
    "rating": [{"choice": None, "overall": overall} for overall in (1, 2, 5)],
}


@pytest.fixture
def people(engine: Engine, cast: Cast) -> list[int]:
    return [cast.mary, cast.alan, cast.grace]


def give_seats(engine: Engine, task_id: int, people: list[int]) -> None:
    """Two of them see the second answer on the left."""
    seats = select(Seat).where(Seat.task_id == task_id).order_by(Seat.number)
    with write_session(engine) as session:
        for number, (seat, person) in enumerate(zip(session.scalars(seats), people, strict=True)):
            seat.state, seat.annotator_id, seat.claimed_at, seat.swapped = "leased", person, NOON, number > 0


def different(labels: list[Label]) -> bool:
    """By hand: whether verdicts in force chose different answers, or gave different numbers."""
    found = set()
    for label in labels:
        answer = {"left": label.left_generation_id, "right": label.right_generation_id}.get(label.choice or "")
        found.add(answer or label.choice or label.overall)
    return len(found) > 1


@pytest.mark.parametrize("kind", ["comparison", "rating"])
def test_the_task_says_what_its_verdicts_in_force_say(engine: Engine, cast: Cast, people: list[int], kind: str) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1, seats=3, kind=kind)
    give_seats(engine, task_id, people)
    draw, seen = random.Random(7), set()
    for step in range(60):
        with write_session(engine) as session:
            person, now = draw.choice(people), NOON + timedelta(minutes=step)
            mine = select(Label.id).where(Label.annotator_id == person, Label.current)
            if draw.random() < 0.3 and session.scalar(mine) is not None:
                withdraw(session.connection(), task_id, person, say().client_id, interface="test", now=now)
            else:
                verdict = say(**draw.choice(SAID[kind]))
                record_label(session.connection(), task_id, person, verdict, interface="test", now=now)
        with read_session(engine) as session:
            current = list(session.scalars(select(Label).where(Label.current)))
            expected = different(current)
            assert session.get_one(Task, task_id).disputed == expected, step
            for wanted in (LabelFilter(disputed=True), with_tasks(session, cast.demo, LabelFilter(disputed=True))):
                found = {row.label.id for row in search_labels(session, cast.demo, wanted)}
                assert found == ({label.id for label in current} if expected else set()), step
                assert count_labels(session, cast.demo, wanted).count == len(found)
            everything = list(session.scalars(select(Label)))
            for wanted in (LabelFilter(disputed=True, history=True), LabelFilter(disputed=True, withdrawn=True)):
                shown = {row.label.id for row in search_labels(session, cast.demo, replace(wanted, disputed=False), limit=99)}
                contested = {
                    one.id
                    for one in everything
                    if any(different([one, other]) for other in current if other.annotator_id != one.annotator_id)
                }
                assert {row.label.id for row in search_labels(session, cast.demo, wanted, limit=99)} == shown & contested, step
            seen.add((expected, len(current)))
    assert len(seen) >= 5, "all the ways to agree and not to were gone through"


def test_versions_out_of_force_are_compared_with_what_others_say_now(engine: Engine, cast: Cast, people: list[int]) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1, seats=2, kind="rating")
    give_seats(engine, task_id, people[:2])
    with write_session(engine) as session:
        for person, overall in ((cast.mary, 1), (cast.alan, 4), (cast.mary, 4)):
            verdict = Verdict(str(uuid.uuid4()), overall=overall)
            record_label(session.connection(), task_id, person, verdict, interface="test", now=NOON)
    with read_session(engine) as session:
        ever = search_labels(session, cast.demo, LabelFilter(disputed=True, history=True))
        assert [row.label.overall for row in ever] == [1]
        assert search_labels(session, cast.demo, LabelFilter(disputed=True)) == []


def test_disputed_labels_are_found_by_an_index_and_no_other_label_is_looked_at(engine: Engine, cast: Cast) -> None:
    with read_session(engine) as session, plans(session) as found:
        wanted = with_tasks(session, cast.demo, LabelFilter(disputed=True))
        search_labels(session, cast.demo, wanted)
        count_labels(session, cast.demo, wanted)
    assert any("ix_tasks_disputed" in step for step in found)
    steps = [step for step in found if step.startswith("SEARCH labels")]
    assert steps
    assert all("task_id=?" in step for step in steps)


@pytest.mark.parametrize("wanted", [LabelFilter(disputed=True, history=True), LabelFilter(disputed=True, withdrawn=True)])
def test_of_versions_only_those_that_may_be_disputed_are_compared(engine: Engine, cast: Cast, wanted: LabelFilter) -> None:
    with read_session(engine) as session, plans(session) as found:
        search_labels(session, cast.demo, wanted)
        count_labels(session, cast.demo, wanted)
    assert any("ix_tasks_disputed" in step for step in found)
    assert not [step for step in found if step.startswith("SCAN labels")]


def test_a_text_and_a_dispute_are_looked_for_together(engine: Engine, cast: Cast, people: list[int]) -> None:
    tasks = make_tasks(engine, cast.demo, 3, seats=2)
    for task_id, choices in zip(tasks, ("lr", "ll", "lr"), strict=True):
        give_seats(engine, task_id, people[:2])
        for person, choice in zip(people[:2], choices, strict=True):
            verdict = say({"l": "left", "r": "right"}[choice])
            with write_session(engine) as session:  # the second sees the answers the other way round
                record_label(session.connection(), task_id, person, verdict, interface="test", now=NOON)
    with read_session(engine) as session:
        for task_id, found in zip(tasks, (set(), {tasks[1]}, set()), strict=True):
            prompt = session.get_one(Prompt, session.get_one(Task, task_id).prompt_id)
            wanted = LabelFilter(disputed=True, text=prompt.messages[0]["content"])
            for one in (wanted, with_tasks(session, cast.demo, wanted)):
                assert {row.label.task_id for row in search_labels(session, cast.demo, one)} == found


@pytest.mark.parametrize(
    ("kind", "verdicts", "contested"),
    [
        ("comparison", [], False),
        ("comparison", [7], False),
        ("comparison", [7, 7], False),
        ("comparison", [7, 8], True),
        ("comparison", [7, 7, 8], False),
        ("comparison", [7, 8, -1], True),
        ("comparison", [7, 7, 8, 8], True),
        ("rating", [3, 4], False),
        ("rating", [2, 4], True),
        ("rating", [1, 3, 5], True),
        ("rating", [2, 3, 5], False),
    ],
)
def test_a_task_is_contested_while_no_verdict_has_more_than_half(kind: str, verdicts: list[int], contested: bool) -> None:
    assert is_contested(kind, verdicts) == contested


def stands(session: Session, task_id: int) -> tuple[str, int, int]:
    """The state of its dispute, how many were asked for it, and its free seats."""
    free = len(session.scalars(select(Seat.id).where(Seat.task_id == task_id, Seat.state == "free")).all())
    dispute = dispute_of(session, task_id)
    return (dispute.state, dispute.seats_added, free) if dispute else ("", 0, free)


def test_another_person_is_asked_before_a_reviewer_is(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        task = differ(session, project, {cast.mary: {"choice": "tie"}, cast.grace: {"choice": "both_bad"}}, extra_seats=1)
        assert stands(session, task.id) == ("asking", 1, 1)
        first, another = session.scalars(select(Seat.place).where(Seat.task_id == task.id, Seat.number.in_((1, 3)))).all()
        assert first == another, "they meet it where it stands in the queue"
        judge(session, project, cast.alan, task=task, choice="tie")
        assert stands(session, task.id) == ("closed", 1, 0), "two of three agree"
        judge_again(session, task.id, cast.alan, "left")
        assert stands(session, task.id) == ("open", 1, 0)


def test_who_agrees_is_followed_by_nobody(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        alike = {cast.mary: {"choice": "tie"}, cast.grace: {"choice": "tie"}}
        near = {cast.mary: {"overall": 3}, cast.grace: {"overall": 4}}
        for said, kind in ((alike, "comparison"), (near, "rating")):
            task = differ(session, project, said, kind, extra_seats=1)
            assert stands(session, task.id) == ("", 0, 0)


def test_nobody_is_asked_before_those_who_are_asked_already(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        task = factories.make_task(session, project, seats=3)
        judge(session, project, cast.mary, task=task, choice="tie")
        judge(session, project, cast.grace, task=task, choice="both_bad")
        assert stands(session, task.id) == ("", 0, 1)
        judge(session, project, cast.alan, task=task, choice="both_bad")
        assert stands(session, task.id) == ("", 0, 0)


def test_what_measures_models_or_people_is_left_alone(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for purpose in ("evaluation", "repeat", "gold"):
            task = factories.make_task(session, project, seats=2)
            task.purpose = purpose
            judge(session, project, cast.mary, task=task, choice="tie")
            judge(session, project, cast.grace, task=task, choice="both_bad")
            assert stands(session, task.id) == ("", 0, 0)


def test_a_verdict_that_is_withdrawn_ends_it(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        task = differ(session, project, {cast.mary: {"choice": "tie"}, cast.grace: {"choice": "both_bad"}})
        assert stands(session, task.id) == ("open", 0, 0)
        withdraw(session.connection(), task.id, cast.mary, say().client_id, interface="test", now=NOON)
        assert stands(session, task.id) == ("closed", 0, 0)


def judge_again(session: Session, task_id: int, person: int, choice: str) -> None:
    record_label(session.connection(), task_id, person, say(choice), interface="test", now=NOON)
