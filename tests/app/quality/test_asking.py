"""Checks in the queue: at their share, for one person alone, and nothing about them tells that they are."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.labels.record import record_label
from app.labels.verdict import Verdict
from app.models import Check, Label, Project, Seat, Task, utc_now
from app.quality import asking
from app.quality.chores import look_after_people
from app.queue import lease
from app.queue.claim import claim_next
from app.queue.make_tasks import open_task_count
from app.runs.usable_labels import usable_label_count
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.quality.checked import make_gold

Api = Callable[..., TestClient]
V1 = "/api/v1"


def furnish(engine: Engine, cast: Cast, *, tasks: int, golds: int = 0, **values: float) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for name, value in ({"gold_share": 0.0, "repeat_share": 0.0} | values).items():
            setattr(project, name, value)
        for _ in range(golds):
            make_gold(session, project)
        for _ in range(tasks):
            factories.make_task(session, project)


def judge_next(engine: Engine, cast: Cast, person: int) -> int | None:
    """Claim the next task and say that the left answer is better; its number."""
    with write_session(engine) as session:
        connection = session.connection()
        found = claim_next(connection, cast.demo, person, now=utc_now(), lease=timedelta(minutes=5))
        if found is None:
            return None
        verdict = Verdict(client_id=str(uuid4()), choice="left")
        record_label(connection, found.id, person, verdict, interface="test", now=utc_now())
        return found.id


def work(engine: Engine, cast: Cast, labels: int, *people: int, looks_every: int = 1) -> list[int]:
    """So many tasks answered in turn, a look of the worker after each; their numbers."""
    draw = random.Random(1)
    served = []
    for number in range(labels):
        task_id = judge_next(engine, cast, people[number % len(people)])
        if task_id is None:
            break
        served.append(task_id)
        if number % looks_every == 0:
            look_after_people(engine, cast.demo, draw)
    return served


def purposes(engine: Engine, served: list[int]) -> list[str]:
    with read_session(engine) as session:
        found = dict(session.execute(select(Task.id, Task.purpose).where(Task.id.in_(served))).all())
    return [found[task_id] for task_id in served]


def test_a_repeat_comes_to_its_person_far_apart_and_once(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast, tasks=200, repeat_share=0.1)
    served = work(engine, cast, 160, cast.mary)
    kinds = purposes(engine, served)
    assert 7 <= kinds.count("repeat") <= 16
    with read_session(engine) as session:
        checks = session.scalars(select(Check).where(Check.task_id.in_(served))).all()
        before = {check.task_id: check.repeats_id for check in checks}
        assert len(set(before.values())) == len(before), "nothing comes back twice"
        for task_id, repeated in before.items():
            assert served.index(task_id) - served.index(repeated or 0) >= asking.FAR
            task, first = session.get_one(Task, task_id), session.get_one(Task, repeated)
            assert {task.first_generation_id, task.second_generation_id} == {
                first.first_generation_id,
                first.second_generation_id,
            }
        sides = {
            session.scalars(select(Label.left_generation_id).where(Label.task_id == task_id)).one()
            == session.scalars(select(Label.left_generation_id).where(Label.task_id == repeated)).one()
            for task_id, repeated in before.items()
        }
        assert sides == {True, False}, "sides are drawn anew"


def test_known_answers_come_at_their_share_and_each_once(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast, tasks=160, golds=12, gold_share=0.1)
    served = work(engine, cast, 120, cast.mary, cast.alan)
    assert 6 <= purposes(engine, served).count("gold") <= 18
    with read_session(engine) as session:
        met = session.execute(select(Check.annotator_id, Check.gold_id)).all()
        assert len(met) == len(set(met))


def test_they_train_nothing_and_what_gave_way_is_asked_all_the_same(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast, tasks=80, golds=5, gold_share=0.1, repeat_share=0.1)
    with read_session(engine) as session:
        before = set(session.scalars(select(Task.first_generation_id).join(Seat, Seat.task_id == Task.id)))
    served = work(engine, cast, 200, cast.mary)
    with read_session(engine) as session:
        checks = set(session.scalars(select(Check.task_id)))
        assert checks & set(served)
        real = [task_id for task_id in served if task_id not in checks]
        assert len(real) == 80
        assert usable_label_count(session, cast.demo) == 80
        asked = set(session.scalars(select(Task.first_generation_id).where(Task.id.in_(real))))
        assert asked == before
        trains = session.scalars(select(Label.trains).where(Label.task_id.in_(checks))).all()
        assert not any(trains)


def test_nobody_else_is_given_a_check(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast, tasks=70, repeat_share=0.2)
    work(engine, cast, 55, cast.mary, looks_every=1)
    with read_session(engine) as session:
        waiting = session.scalars(select(Seat).where(Seat.reserved_for == cast.mary, Seat.state == "free")).all()
        assert open_task_count(session, cast.demo) == session.scalar(
            select(func.count()).select_from(Seat).where(Seat.state == "free", Seat.reserved_for.is_(None))
        )
    assert len(waiting) <= 1
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        if not waiting:
            asked = asking.question(session, project, cast.mary, "repeat", random.Random(2))
            assert asked is not None
            asking.put_in(session, project, cast.mary, asked, random.Random(2))
    served = work(engine, cast, 40, cast.alan, looks_every=100)
    assert "repeat" not in purposes(engine, served)


def test_a_check_cannot_be_told_from_a_task_of_training(engine: Engine, cast: Cast, api: Api) -> None:
    """Not by its number's place among those served, not by its fields, not by what one's own label shows of it."""
    furnish(engine, cast, tasks=150, golds=10, gold_share=0.1, repeat_share=0.1)
    draw, mary = random.Random(3), api("annotate", who="Mary")
    replies, stored = [], []
    for _ in range(110):
        reply = mary.post(f"{V1}/projects/demo/tasks/next").json()
        verdict = {"client_id": str(uuid4()), "choice": "left"}
        stored.append(mary.post(f"{V1}/tasks/{reply['id']}/label", json=verdict).json())
        replies.append(reply)
        look_after_people(engine, cast.demo, draw)
    kinds = purposes(engine, [reply["id"] for reply in replies])
    checks = [place for place, kind in enumerate(kinds) if kind != "train"]
    assert len(checks) >= 8
    shapes = {
        json.dumps(reply | {"id": 0, "prompt": 0, "left": list(reply["left"]), "right": list(reply["right"]), "lease_until": 0})
        for reply in replies
    }
    assert len(shapes) == 1
    assert len({json.dumps(sorted(one)) for one in stored}) == 1
    # A check has the number of the task that gave way: it stands between its neighbours as any other does.
    numbers = [reply["id"] for reply in replies]
    assert all(numbers[place - 1] < numbers[place] for place in checks)
    labels = mary.get(f"{V1}/projects/demo/labels?limit=200").json()["items"]
    assert {(one["served_reason"], tuple(sorted(one))) for one in labels} == {(None, tuple(sorted(labels[0])))}
    page = mary.get(f"{V1}/labels/{stored[checks[0]]['id']}")
    assert not {"gold", "repeat", "check"} & set(page.text.replace('"', " ").split())


def test_a_check_that_was_passed_over_or_left_is_taken_out(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast, tasks=60, golds=2)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        asked = asking.question(session, project, cast.mary, "gold", random.Random(1))
        assert asked is not None
        number = asking.put_in(session, project, cast.mary, asked, random.Random(1))
        assert number is not None
        connection = session.connection()
        found = None
        while found != number:
            task = claim_next(connection, cast.demo, cast.mary, now=utc_now(), lease=timedelta(minutes=5))
            assert task is not None
            found = task.id
            lease.skip(connection, found, cast.mary, "too long", now=utc_now())
        assert asking.unused(session, project) == [number]
        asking.take_out(session, [number])
        assert session.scalar(select(Seat.id).where(Seat.task_id == number)) is None
        assert session.scalar(select(Check.id).where(Check.task_id == number)) is not None, "it was met"

        other = asking.question(session, project, cast.alan, "gold", random.Random(1))
        assert other is not None
        left = asking.put_in(session, project, cast.alan, other, random.Random(1))
        check = session.scalars(select(Check).where(Check.task_id == left)).one()
        check.created_at = utc_now() - 2 * asking.KEPT
        session.flush()
        assert asking.unused(session, project) == [left]
        asking.take_out(session, asking.unused(session, project))
        assert session.get(Task, left) is None


def test_a_turn_of_a_talk_does_not_come_back(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its person wrote it: they would know it, and its place in a talk is gone."""
    monkeypatch.setattr(asking, "FAR", 0)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        turn = factories.make_task(session, project, served_reason="chat")
        judge(session, project, cast.mary, turn, choice="left", served_reason="chat")
        assert asking.question(session, project, cast.mary, "repeat", random.Random(1)) is None
        judge(session, project, cast.mary, choice="left")
        assert asking.question(session, project, cast.mary, "repeat", random.Random(1)) is not None


def test_where_nothing_waits_no_check_is_made(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast, tasks=0, golds=1)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        asked = asking.question(session, project, cast.mary, "gold", random.Random(1))
        assert asked is not None
        assert asking.put_in(session, project, cast.mary, asked, random.Random(1)) is None
        assert asking.question(session, project, cast.mary, "repeat", random.Random(1)) is None


@pytest.mark.parametrize("purpose", ["gold", "repeat"])
def test_a_check_that_is_withdrawn_opens_no_seat_for_others(engine: Engine, cast: Cast, api: Api, purpose: str) -> None:
    with write_session(engine) as session:
        task_id = factories.make_task(session, session.get_one(Project, cast.demo), purpose=purpose, served_reason=purpose).id
    mary = api("annotate", who="Mary")
    assert mary.post(f"{V1}/projects/demo/tasks/next").json()["id"] == task_id
    mary.post(f"{V1}/tasks/{task_id}/label", json={"client_id": str(uuid4()), "choice": "left"})
    assert mary.post(f"{V1}/tasks/{task_id}/withdraw", json={"client_id": str(uuid4())}).status_code == 201
    assert api("annotate", who="Alan").post(f"{V1}/projects/demo/tasks/next").status_code == 204
