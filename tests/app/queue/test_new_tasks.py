"""Tasks as rows: the number of answers says what is asked, and everything stands in the order that was drawn."""

from __future__ import annotations

from sqlalchemy import Engine, select

from app.database.engine import write_session
from app.models import Project, RankedAnswer, Seat, Task
from app.queue.new_tasks import insert_tasks
from tests.app import factories
from tests.app.conftest import Cast


def test_as_many_answers_as_there_are_decide_the_kind(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.overlap = 2
        assert project.policy_id is not None
        prompt = factories.make_prompt(session, project.id)
        one, two, three, four = (factories.make_generation(session, prompt, project.policy_id).id for _ in range(4))

        ids = insert_tasks(session, project, [(prompt.id, [one]), (prompt.id, [two, one]), (prompt.id, [four, one, three])])

        tasks = [session.get_one(Task, task_id) for task_id in ids]
        assert [(task.kind, task.first_generation_id, task.second_generation_id) for task in tasks] == [
            ("rating", one, None),
            ("comparison", two, one),
            ("ranking", four, None),
        ]
        rows = select(RankedAnswer.task_id, RankedAnswer.number, RankedAnswer.generation_id).order_by(RankedAnswer.number)
        assert [tuple(row) for row in session.execute(rows)] == [(ids[2], 1, four), (ids[2], 2, one), (ids[2], 3, three)]
        seats = session.execute(select(Seat.task_id, Seat.number).order_by(Seat.task_id, Seat.number)).all()
        assert [tuple(seat) for seat in seats] == [(task_id, number) for task_id in ids for number in (1, 2)]


def test_places_are_behind_all_that_waits_unless_they_are_ahead(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        waiting = factories.make_task(session, project)
        (behind,) = insert_tasks(session, project, [(waiting.prompt_id, [waiting.first_generation_id])])
        (ahead,) = insert_tasks(session, project, [(waiting.prompt_id, [waiting.first_generation_id])], ahead=-1000)
        assert session.scalars(select(Seat.task_id).order_by(Seat.place)).all() == [ahead, waiting.id, behind]
