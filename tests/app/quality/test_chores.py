"""What a worker does for people: for each whatever fails for another, and without reading a large project through."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import Engine, func, select, text

from app.database.engine import read_session, write_session
from app.models import Check, Gold, Membership, Project, Seat, Task
from app.quality import asking
from app.quality.chores import look_after_people
from app.rounds import people_decide
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import begin
from tests.app.exports.judging import judge
from tests.app.labels.test_grown import plans
from tests.app.quality.checked import answer_gold, make_gold


def open_source(engine: Engine, project_id: int) -> int:
    """A known answer of a task that nobody has met, as older versions let somebody say; the task."""
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        task = factories.make_task(session, project)
        gold = make_gold(session, project)
        gold.source_task_id = task.id
        return task.id


def test_what_fails_for_one_person_is_done_for_the_others(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.gold_share, project.repeat_share, project.gold_pauses = 0.5, 0.0, True
        make_gold(session, project)
        for person in (cast.alan, cast.mary):
            for _ in range(3):
                judge(session, project, person, choice="left")
        for _ in range(9):
            answer_gold(session, project, cast.grace, right=False)
        for _ in range(20):
            factories.make_task(session, project)
        refuses = f"CREATE TRIGGER refuses BEFORE INSERT ON checks WHEN NEW.annotator_id = {cast.alan} "
        session.execute(text(refuses + "BEGIN SELECT RAISE(ABORT, 'no check for Alan'); END"))
    with pytest.raises(Exception, match="no check for Alan"):
        look_after_people(engine, cast.demo, random.Random(1))
    with read_session(engine) as session:
        assert session.scalar(select(Seat.id).where(Seat.reserved_for == cast.mary)) is not None
        paused = select(Membership.user_id).where(Membership.paused_at.is_not(None))
        assert session.scalars(paused).all() == [cast.grace]


def test_the_task_that_a_known_answer_comes_from_never_gives_way(engine: Engine, cast: Cast) -> None:
    source = open_source(engine, cast.demo)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        make_gold(session, project)
        asked = asking.question(session, project, cast.mary, "gold", random.Random(1))
        assert asked is not None
        assert asking.put_in(session, project, cast.mary, asked, random.Random(1)) is None, "nothing else waits"
        assert session.get(Task, source) is not None


def test_an_evaluation_is_mixed_around_it(engine: Engine) -> None:
    judged = begin(engine, train=3)
    source = open_source(engine, judged.project)
    people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        assert session.get(Task, source) is not None
        asked = select(func.count()).where(Task.project_id == judged.project, Task.purpose == "evaluation")
        assert session.scalar(asked)


def test_nobody_is_asked_what_is_right_while_its_task_may_come_to_them(engine: Engine, cast: Cast) -> None:
    source = open_source(engine, cast.demo)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        of_source = session.scalars(select(Gold).where(Gold.source_task_id == source)).one()
        seat = session.scalars(select(Seat).where(Seat.task_id == source)).one()
        assert asking.question(session, project, cast.mary, "gold", random.Random(1)) is None
        judge(session, project, cast.alan, session.get_one(Task, source), choice="left")
        seat.state, seat.annotator_id = "done", cast.alan
        session.flush()
        asked = asking.question(session, project, cast.mary, "gold", random.Random(1))
        assert asked is not None
        assert asked.gold_id == of_source.id
        assert asking.question(session, project, cast.alan, "gold", random.Random(1)) is None


def test_a_look_reads_no_large_project_through(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.mary, choice="left")
        factories.make_task(session, project)
    with read_session(engine) as session, plans(session) as found:
        project = session.get_one(Project, cast.demo)
        assert asking.who_works(session, project) == [cast.mary]
        assert asking.unused(session, project) == []
        asking.due(session, project, cast.mary)
    of_labels = [step for step in found if "labels" in step]
    assert of_labels
    assert all("annotator_id=?" in step for step in of_labels)
    assert any("ix_seats_reserved_for" in step for step in found)
    assert not [step for step in found if "ix_seats_queue" in step]


def test_who_has_met_every_known_answer_costs_no_writing(engine: Engine, cast: Cast) -> None:
    """Something is due to them for good, and nothing can be asked."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.gold_share, project.repeat_share = 0.5, 0.0
        answer_gold(session, project, cast.mary, right=True)
        for _ in range(5):
            judge(session, project, cast.mary, choice="left")
        factories.make_task(session, project)
        assert asking.due(session, project, cast.mary) == ["gold"]
        assert asking.next_question(session, project, cast.mary, random.Random(1)) is None
        session.execute(text("CREATE TRIGGER nobody BEFORE UPDATE ON projects BEGIN SELECT RAISE(ABORT, 'held'); END"))
    look_after_people(engine, cast.demo, random.Random(1))
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Check)) == 1
