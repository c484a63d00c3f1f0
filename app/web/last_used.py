"""When a session or key was last used: noted beside the requests, so that no request waits for it."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Literal

from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError

from app.database.engine import write_session
from app.errors import Unavailable
from app.models import ApiKey, SignInSession, utc_now

log = logging.getLogger("tastemaker")


class UseLog:
    """Collects uses and writes what has collected in one transaction, in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="uses")
        self._guard = threading.Lock()
        self._uses: dict[tuple[Literal["session", "key"], str | int], datetime] = {}

    def note(self, via: Literal["session", "key"], credential_id: str | int) -> None:
        with self._guard:
            first = not self._uses
            self._uses[via, credential_id] = utc_now()
        if first:
            self._thread.submit(self._write)

    def finish(self) -> None:
        """Wait until everything noted is written."""
        self._thread.submit(int).result()

    def _write(self) -> None:
        with self._guard:
            uses, self._uses = self._uses, {}
        try:
            with write_session(self._engine) as session:
                for (via, credential_id), at in uses.items():
                    if via == "session":
                        session.execute(
                            update(SignInSession).where(SignInSession.id_hash == credential_id).values(last_seen_at=at)
                        )
                    else:
                        session.execute(update(ApiKey).where(ApiKey.id == credential_id).values(last_used_at=at))
        except (OperationalError, Unavailable) as error:
            log.warning("last uses were not noted: %s", error)
