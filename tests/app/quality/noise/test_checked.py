from __future__ import annotations

from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project, Task
from app.quality.noise.checked import Checked, checked
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.quality.checked import answer_again, answer_gold


def test_checks_are_told_in_their_order_and_a_side_is_no_answer(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        answer_gold(session, project, cast.mary, right=True)
        before = judge(session, project, cast.mary, factories.make_task(session, project), choice="left")
        answer_again(session, project, cast.mary, before, "left")
        other = judge(session, project, cast.alan, factories.make_task(session, project), choice="left")
        answer_again(session, project, cast.alan, other, "tie")
        answer_gold(session, project, cast.mary, right=False)

        assert checked(session, project.id) == [
            Checked(cast.mary, gold=True, right=True),
            Checked(cast.mary, gold=False, right=True),
            Checked(cast.alan, gold=False, right=False),
            Checked(cast.mary, gold=True, right=False),
        ]


def test_whoever_corrects_a_check_is_no_more_right_for_it(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        wrong = answer_gold(session, project, cast.mary, right=False)
        judge(session, project, cast.mary, session.get_one(Task, wrong.task_id), choice="left", supersedes=wrong)
        taken_back = answer_gold(session, project, cast.mary, right=False)
        taken_back.current = False
        session.flush()
        assert checked(session, project.id) == [Checked(cast.mary, gold=True, right=False)]
