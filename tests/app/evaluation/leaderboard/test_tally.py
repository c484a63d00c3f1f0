"""Verdicts are counted once, whoever counts: what a worker kept and what a page adds are what a count of all would be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, select

from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import upgrade_to_head
from app.evaluation.leaderboard import tally
from app.evaluation.leaderboard.ranking import Met
from app.models import Contender, Label, Leaderboard, Project, Task, utc_now
from tests.app import factories
from tests.app.exports.judging import judge
from tests.postgres import server

__all__ = ["server"]

HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = request.getfixturevalue("server") if request.param == "postgres" else f"sqlite:///{tmp_path / 'tally.db'}"
    upgrade_to_head(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def project(engine: Engine) -> int:
    with write_session(engine) as session:
        project_id: int = factories.make_project(session).id
    return project_id


class People:
    """Contenders that meet on held-out prompts, and one person who judges an hour ago."""

    def __init__(self, engine: Engine, project_id: int) -> None:
        self.engine, self.project_id = engine, project_id
        with write_session(engine) as session:
            self.ada: int = factories.make_user(session, f"Ada{project_id}").id
            self.contenders: list[int] = [factories.make_stranger(session, project_id, name).id for name in ("a", "b", "c")]

    def judge(self, left: int, right: int, choice: str, texts: tuple[str, str] = ("Yes.", "No.!"), **values: object) -> int:
        with write_session(self.engine) as session:
            project = session.get_one(Project, self.project_id)
            prompt = factories.make_prompt(session, project.id, split="holdout")
            answers = [
                factories.bring_in(session, prompt, session.get_one(Contender, self.contenders[one]), text, number)
                for number, (one, text) in enumerate(zip((left, right), texts, strict=True))
            ]
            task = Task(
                project_id=project.id,
                prompt_id=prompt.id,
                kind="comparison",
                purpose="evaluation",
                first_generation_id=answers[0].id,
                second_generation_id=answers[1].id,
                served_reason="evaluation",
            )
            session.add(task)
            session.flush()
            filled = {"trains": False, "created_at": utc_now() - HOUR, "served_reason": "evaluation", **values}
            return judge(session, project, self.ada, task, choice=choice, **filled).id

    def correct(self, label_id: int, choice: str, *, withdrawn: bool = False) -> int:
        with write_session(self.engine) as session:
            before = session.get_one(Label, label_id)
            task, project = session.get_one(Task, before.task_id), session.get_one(Project, self.project_id)
            values = {"trains": False, "created_at": utc_now() - HOUR, "served_reason": "evaluation", "supersedes": before}
            label = judge(session, project, self.ada, task, choice=choice, withdrawn=withdrawn, current=not withdrawn, **values)
            return label.id

    def met(self) -> list[Met]:
        with read_session(self.engine) as session:
            return tally.met_by(session, self.project_id)[0]


@pytest.fixture
def people(engine: Engine, project: int) -> People:
    return People(engine, project)


def test_sides_do_not_matter_and_neither_is_a_tie(people: People) -> None:
    for left, right, choice in ((0, 1, "left"), (1, 0, "right"), (1, 0, "left"), (0, 1, "tie"), (0, 1, "both_bad")):
        people.judge(left, right, choice)
    a, b, _c = people.contenders
    assert people.met() == [Met(a, b, 0, 2, 2, 1)]


def test_who_was_longer_by_a_quarter_is_kept_apart(people: People) -> None:
    people.judge(0, 1, "left", ("x" * 126, "y" * 100))
    people.judge(0, 1, "left", ("x" * 125, "y" * 100))
    people.judge(0, 1, "right", ("x" * 10, "長" * 100))
    people.judge(1, 0, "left", ("x" * 10, "y" * 100))
    a, b, _c = people.contenders
    assert people.met() == [Met(a, b, -1, 0, 0, 1), Met(a, b, 0, 1, 0, 0), Met(a, b, 1, 1, 0, 1)]


def test_what_trained_what_is_known_and_what_came_too_late_does_not_count(people: People) -> None:
    people.judge(0, 1, "left", trains=True)
    people.judge(0, 1, "left", served_reason="gold")
    people.judge(0, 1, "left", served_reason="random")  # given by hand: training asks about no prompt that is held out
    people.judge(0, 1, "left", surplus=True)
    people.judge(0, 0, "left")
    assert people.met() == []
    people.judge(0, 1, "left", served_reason="chat")
    assert len(people.met()) == 1


def test_a_correction_takes_back_what_it_supersedes_and_a_withdrawal_does_nothing_else(people: People) -> None:
    first = people.judge(0, 1, "left")
    second = people.judge(0, 1, "left")
    a, b, _c = people.contenders
    people.correct(first, "right")
    assert people.met() == [Met(a, b, 0, 1, 0, 1)]
    withdrawn = people.correct(second, "left", withdrawn=True)
    assert people.met() == [Met(a, b, 0, 0, 0, 1)]
    people.correct(withdrawn, "tie")
    assert people.met() == [Met(a, b, 0, 0, 1, 1)]


def test_a_worker_that_counts_in_slices_says_what_a_page_says(
    engine: Engine, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "SLICE", 7)
    monkeypatch.setattr(tally, "BEHIND", 3)
    draw = random.Random(5)
    labels: list[int] = []
    for step in range(60):
        left, right = draw.sample(range(3), 2)
        choice = draw.choice(["left", "right", "tie"])
        if labels and draw.random() < 0.3:
            labels.append(people.correct(labels.pop(draw.randrange(len(labels))), choice, withdrawn=draw.random() < 0.3))
        else:
            labels.append(people.judge(left, right, choice, ("x" * draw.randint(1, 9), "y" * draw.randint(1, 9))))
        if step % 20 == 19:
            assert not tally.keep_counting(engine, people.project_id, 10.0)
    kept = people.met()
    with read_session(engine) as session:
        at = session.scalars(select(Leaderboard).where(Leaderboard.project_id == people.project_id)).one()
        assert at.counts
        assert labels[-1] - at.label_id < 3
    with write_session(engine) as session:
        session.execute(delete(Leaderboard))
    assert people.met() == kept
    with read_session(engine) as session:
        in_force = session.scalars(select(Label.id).where(Label.project_id == people.project_id, Label.current)).all()
    assert sum(pair.verdicts for pair in kept) == len(in_force)


def test_a_label_that_is_still_young_is_added_by_the_page_alone(
    engine: Engine, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "BEHIND", 1)
    old = people.judge(0, 1, "left")
    people.judge(0, 1, "left", created_at=utc_now())
    people.judge(0, 1, "right")
    assert not tally.keep_counting(engine, people.project_id, 10.0)
    with read_session(engine) as session:
        assert session.scalars(select(Leaderboard).where(Leaderboard.project_id == people.project_id)).one().label_id == old
    a, b, _c = people.contenders
    assert people.met() == [Met(a, b, 0, 2, 0, 1)]


def test_a_page_counts_so_many_and_says_how_many_it_left(engine: Engine, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [people.judge(0, 1, "left") for _ in range(5)]
    monkeypatch.setattr(tally, "AT_MOST", labels[2])
    with read_session(engine) as session:
        met, left = tally.met_by(session, people.project_id)
    assert (sum(pair.verdicts for pair in met), left) == (3, 2)


def test_no_more_is_counted_once_there_is_no_time(engine: Engine, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "SLICE", 1)
    monkeypatch.setattr(tally, "BEHIND", 1)
    for _ in range(3):
        people.judge(0, 1, "left")
    assert tally.keep_counting(engine, people.project_id, 0.0)
    while tally.keep_counting(engine, people.project_id, 0.0):
        pass
    a, b, _c = people.contenders
    assert people.met() == [Met(a, b, 0, 3, 0, 0)]
