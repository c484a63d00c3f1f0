"""What is announced is stored with what happened, or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from app.database.engine import read_session, write_session
from app.models import Announcement, Delivery, Project, Webhook
from app.webhooks import service
from app.webhooks.announcing import announce, latest
from tests.app import factories
from trainer.contract.messages import Message


def test_every_address_in_force_is_to_be_told_and_nobody_who_came_later(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session)
        first, gone = (service.register(session, f"https://example.org/{name}", None) for name in ("first", "gone"))
        service.remove(session, gone, None)
        announce(session, project, "rounds.paused", Message("announce_paused"))
        service.register(session, "https://example.org/later", None)
        assert session.scalars(select(Delivery.webhook_id)).all() == [first.id]


def test_what_did_not_happen_is_not_announced(engine: Engine) -> None:
    with write_session(engine) as session:
        service.register(session, "https://example.org/hooks", None)
        project_id = factories.make_project(session).id

    def stop_after_announcing() -> None:
        with write_session(engine) as session:
            announce(session, session.get_one(Project, project_id), "rounds.paused", Message("announce_paused"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_after_announcing()
    with read_session(engine) as session:
        assert [session.scalar(select(func.count()).select_from(table)) for table in (Announcement, Delivery)] == [0, 0]
        assert session.scalar(select(func.count()).select_from(Webhook)) == 1


def test_the_newest_of_a_project_come_first_and_those_before_on_demand(engine: Engine) -> None:
    with write_session(engine) as session:
        project, other = factories.make_project(session), factories.make_project(session)
        announce(session, other, "rounds.paused", Message("announce_paused"))
        made = [announce(session, project, "rounds.paused", Message("announce_paused")).id for _ in range(4)]
        found = [one.id for one in latest(session, project.id, 3)]
        assert found == made[:0:-1]
        assert [one.id for one in latest(session, project.id, 3, before=found[-1])] == made[:1]
