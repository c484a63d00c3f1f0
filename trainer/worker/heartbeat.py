"""Saying that one lives and works on a run, from a thread, while what is done for it may take long.

The worker has no other thread, and none while it starts a process. Who asks (`still_ours`) hears when the run is another's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, update

from app.database.engine import write_session
from app.models import Run, Worker, utc_now
from trainer.worker.failures import living_on

BEAT_S = 2.0  # between two signs of life


class LostRun(Exception):
    """Another worker has taken the run over."""


@contextmanager
def beating(engine: Engine, worker: str, run_id: int, fence: int, *, at_once: bool = True) -> Iterator[Beat]:
    """Beats inside the block, and once at its begin; not `at_once`: where it is left soon, nothing is written."""
    beat = Beat(engine, worker, run_id, fence)
    thread = threading.Thread(target=beat.go_on, args=(at_once,), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield beat
    finally:
        beat.stop()
        thread.join()


class Beat:
    def __init__(self, engine: Engine, worker: str, run_id: int, fence: int) -> None:
        self._engine = engine
        self._worker = worker
        self._run = (Run.id == run_id, Run.fence == fence, Run.state == "running")
        self._run_id = run_id
        self._stopped = threading.Event()
        self._lost = False

    def still_ours(self) -> None:
        """Raises LostRun once another worker has the run."""
        if self._lost:
            raise LostRun(self._run_id)

    def go_on(self, at_once: bool) -> None:
        if not at_once and self._stopped.wait(BEAT_S):
            return
        while not self._lost:
            with living_on("a sign of life"):
                self._say_alive()
            if self._stopped.wait(BEAT_S):
                return

    def stop(self) -> None:
        self._stopped.set()

    def _say_alive(self) -> None:
        now = utc_now()
        with write_session(self._engine) as session:
            session.execute(update(Worker).where(Worker.name == self._worker).values(heartbeat_at=now))
            ours = session.scalar(update(Run).where(*self._run).values(heartbeat_at=now).returning(Run.id))
        self._lost = ours is None
