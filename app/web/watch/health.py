"""Whether the installation works: the database at head and writable, the worker alive."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, func, select

from app.database.engine import write_session
from app.database.upgrade import MIGRATIONS, head, revision_in
from app.models import Worker, utc_now

WORKER_SILENCE_S = 30  # a worker that has not been heard of for this long counts as away
FRESH_S = 1.0


@dataclass(frozen=True)
class Health:
    at_head: bool
    worker_alive: bool


class HealthWatch:
    """Looks at most once a second, whoever asks how often: that it could begin to write is the proof that one can."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._guard = threading.Lock()
        self._asked = 0.0
        self._found: Future[Health] | None = None

    def look(self) -> Future[Health]:
        with self._guard:
            now = time.monotonic()
            if self._found is None or (self._found.done() and now - self._asked > FRESH_S):
                self._asked, self._found = now, self._thread.submit(self._check)
            return self._found

    def _check(self) -> Health:
        with write_session(self._engine) as session:
            heard = session.scalar(select(func.max(Worker.heartbeat_at)))
            alive = heard is not None and utc_now() - heard < timedelta(seconds=WORKER_SILENCE_S)
            return Health(at_head=revision_in(session.connection()) == head(MIGRATIONS), worker_alive=alive)
