"""Whoever works says so while working, and hears when the run is another's."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from app.database.engine import read_session, write_session
from app.models import Run, Worker, utc_now
from tests.app import factories
from tests.app.conftest import Cast
from trainer.worker import heartbeat
from trainer.worker.heartbeat import LostRun, beating


@pytest.fixture
def run_id(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> int:
    """A run under way of which nothing was heard for an hour."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    long_ago = utc_now() - timedelta(hours=1)
    with write_session(engine) as session:
        session.add(Worker(name="one", heartbeat_at=long_ago))
        return factories.make_run(session, cast.demo, state="running", owner="one", fence=3, heartbeat_at=long_ago).id


def test_the_run_and_its_worker_are_heard_of_again_and_again(engine: Engine, run_id: int) -> None:
    heard = []
    with beating(engine, "one", run_id, 3) as beat:
        for _ in range(2):
            time.sleep(0.4)
            beat.still_ours()
            with read_session(engine) as session:
                heard += [session.get_one(Run, run_id).heartbeat_at, session.get_one(Worker, "one").heartbeat_at]
    assert all(at is not None and utc_now() - at < timedelta(seconds=10) for at in heard)
    assert heard[0] < heard[2]  # type: ignore[operator]
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_who_lost_the_run_hears_it_and_says_nothing_for_it(engine: Engine, run_id: int) -> None:
    with beating(engine, "one", run_id, 2) as beat:
        time.sleep(0.4)
        with pytest.raises(LostRun):
            beat.still_ours()
    with read_session(engine) as session:
        at = session.get_one(Run, run_id).heartbeat_at
        assert at is not None
        assert utc_now() - at > timedelta(minutes=59)
