"""A session that writes, and the demo project in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.models import Project
from tests.app.conftest import Cast


@pytest.fixture
def session(engine: Engine, cast: Cast) -> Iterator[Session]:
    with write_session(engine) as session:
        yield session


@pytest.fixture
def demo(session: Session, cast: Cast) -> Project:
    return session.get_one(Project, cast.demo)
