"""The project `demo`, in which annotators may talk to the policy; and answers as the warm process gives them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, update

from app.database.engine import write_session
from app.models import Project
from tests.app.conftest import Cast
from tests.app.serving.conftest import alive, live, llama_done, llama_folder, warm

__all__ = ["alive", "live", "llama_done", "llama_folder", "warm"]


@pytest.fixture
def talking(engine: Engine, cast: Cast, alive: None) -> None:
    with write_session(engine) as session:
        session.execute(update(Project).where(Project.id == cast.demo).values(chat_on=True))
