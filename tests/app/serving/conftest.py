"""The project `demo` on a small real model with a reward that likes the moon, and a real warm process that keeps both."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project, Worker, utc_now
from app.runs.checkpoints import get_checkpoint
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.trainer.conftest import llama_done, llama_folder
from trainer.contract.folder import RunFolder
from trainer.contract.messages import Message
from trainer.contract.serving.place import ask_for, folder_of
from trainer.worker.warm import Warm

__all__ = ["llama_done", "llama_folder"]

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120.0


@pytest.fixture
def alive(engine: Engine) -> None:
    """A worker that counts as alive however long the test takes."""
    with write_session(engine) as session:
        session.add(Worker(name="w", heartbeat_at=utc_now() + timedelta(hours=1), message=Message("worker_idle")))


@pytest.fixture
def live(engine: Engine, cast: Cast, alive: None, llama_folder: Path, llama_done: RunFolder) -> dict[str, int]:
    """The checkpoints that are live, by their kind."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.base_model = str(llama_folder)
        assert project.policy_id is not None
        get_checkpoint(session, project.policy_id).source = str(llama_folder)
        reward = factories.make_checkpoint(
            session,
            project.id,
            kind="reward",
            source=str(llama_done.file("checkpoint")),
            parent_id=project.policy_id,
            metrics={"gate_passed": True},
        )
        return {"policy": project.policy_id, "reward": reward.id}


@pytest.fixture
def warm(settings: Settings) -> Iterator[Warm]:
    """The warm process, once it listens."""
    one = Warm(settings.data, os.environ | {"PYTHONPATH": str(ROOT), "TASTEMAKER_THREADS": "1"})
    ask_for(settings.data)
    one.look(beside_a_run=False)
    deadline = time.monotonic() + PATIENCE_S
    while not (folder_of(settings.data) / "socket").exists():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    yield one
    one.close()
