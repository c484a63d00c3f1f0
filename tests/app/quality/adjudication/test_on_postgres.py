"""The same on PostgreSQL: people differ, another is asked, a reviewer settles it and takes it back; and everybody's hours."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import Engine

from app.database.engine import write_session
from app.labels.withdraw import withdraw
from app.models import Project, utc_now
from app.quality.adjudication import doubts, service
from app.quality.hours.service import hours
from app.runs.usable_labels import usable_labels
from tests.app import factories
from tests.app.labels.judged import judge
from tests.app.labels.test_record import say
from tests.app.quality.adjudication.differing import differ, dispute_of
from tests.postgres import engine, server

__all__ = ["engine", "server"]


def test_people_differ_and_a_reviewer_settles_it(engine: Engine) -> None:
    with write_session(engine) as session:
        mary, grace, alan, ada = (factories.make_user(session, name).id for name in ("Mary", "Grace", "Alan", "Ada"))
        project = factories.make_project(session, "demo", name="Demo")
        task = differ(session, project, {mary: {"choice": "tie"}, grace: {"choice": "both_bad"}}, extra_seats=1)
        asked = dispute_of(session, task.id)
        assert asked is not None
        assert (asked.state, asked.seats_added) == ("asking", 1)
        judge(session, project, alan, task=task, choice="left")
        assert [one.dispute.id for one in service.disputes(session, project.id, "open", ada)] == [asked.id]
        assert service.count_by_state(session, project.id)["open"] == 1

        mine = next(one for one in service.case(session, project, asked.id, ada).said if one.choice == "tie")
        doubt = service.send_back(session, project, asked.id, mine.label_id, "Did you see the date?", ada)
        doubts.answer(session, project.id, doubt.id, mary, "I did.")
        service.settle(session, project, asked.id, ada, say("right"), interface="test")
        assert [label.annotator_id for label, _, _ in session.execute(usable_labels(project.id))] == [ada]
        withdraw(session.connection(), task.id, ada, str(uuid.uuid4()), interface="test", now=utc_now())
        assert len(session.execute(usable_labels(project.id)).all()) == 3

        today = utc_now().astimezone().date()
        worked = hours(session, project.id, today - timedelta(days=1), today)
        assert {one.name: one.labels for one in worked} == {"Ada": 2, "Alan": 1, "Grace": 1, "Mary": 1}
        assert session.get_one(Project, project.id).extra_seats == 1
