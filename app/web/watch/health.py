"""Whether the installation works: the database at head, database and data folder take what is written, the worker is alive."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from app.database.engine import write_session
from app.database.upgrade import MIGRATIONS, head, revision_in
from app.models import Worker, utc_now
from trainer.contract.folder import write_a_page

WORKER_SILENCE_S = 30  # a worker that has not been heard of for this long counts as away
FRESH_S = 1.0


@dataclass(frozen=True)
class Health:
    at_head: bool
    worker_alive: bool


class HealthWatch:
    """Looks at most once a second, whoever asks how often: that it wrote is the proof that one can.

    What is found, and what was raised on the way, an OSError or a database's error, is the same for all who ask meanwhile.
    """

    def __init__(self, engine: Engine, data: Path) -> None:
        self._engine = engine
        self._data = data.resolve()
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
        write_a_page(self._data)
        with write_session(self._engine) as session:
            heard = session.scalar(select(func.max(Worker.heartbeat_at)))
            alive = heard is not None and utc_now() - heard < timedelta(seconds=WORKER_SILENCE_S)
            at_head = revision_in(session.connection()) == head(MIGRATIONS)
            if at_head:
                session.execute(text("UPDATE alembic_version SET version_num = version_num"))  # changes nothing, and is written
            return Health(at_head=at_head, worker_alive=alive)
