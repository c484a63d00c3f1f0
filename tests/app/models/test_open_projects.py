"""Whoever writes into a project finds it open, and it stays so while they do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.errors import Archived, NotFound
from app.models import Project, utc_now
from app.models.open_projects import require_open
from app.projects.service import hold_open
from tests.app import factories
from tests.postgres import engine as on_postgres
from tests.postgres import server

__all__ = ["on_postgres", "server"]


def by_connection(session: Session, project_id: int) -> None:
    require_open(session.connection(), project_id)


@pytest.mark.parametrize("ask", [by_connection, hold_open], ids=["the gate", "a service"])
def test_only_an_open_project_is_written_into(engine: Engine, ask: Callable[[Session, int], object]) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session)
        ask(session, project.id)
        project.archived_at = utc_now()
        session.flush()
        with pytest.raises(Archived):
            ask(session, project.id)
        project.deleted_at = utc_now()
        session.flush()
        with pytest.raises(NotFound):
            ask(session, project.id)
        with pytest.raises(NotFound):
            ask(session, project.id + 1)


def test_what_was_set_on_it_is_kept_and_what_others_wrote_is_seen(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session)
        project.overlap = 3
        session.connection().execute(text("UPDATE projects SET rating_share = 0.5"))
        assert hold_open(session, project.id) is project
        assert (project.overlap, project.rating_share) == (3, 0.5)


def test_nobody_puts_it_away_until_the_transaction_ends(on_postgres: Engine) -> None:
    """And who writes a row that points to it, as a verdict does, does not wait."""
    with write_session(on_postgres) as session:
        project_id = factories.make_project(session).id
    with write_session(on_postgres) as session, on_postgres.connect() as other:
        require_open(session.connection(), project_id)
        other.execute(text("SELECT 1 FROM projects WHERE id = :id FOR KEY SHARE NOWAIT"), {"id": project_id})
        with pytest.raises(OperationalError, match="could not obtain lock"):
            other.execute(text("SELECT 1 FROM projects WHERE id = :id FOR NO KEY UPDATE NOWAIT"), {"id": project_id})
    with write_session(on_postgres) as session:
        assert session.get_one(Project, project_id).archived_at is None
