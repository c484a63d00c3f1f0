"""Sign-ins that failed: in the log at once, and in the audit trail of whose account it was, noted beside the requests.

Whoever is not signed in takes no write lock: what has collected is written in one transaction, in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.database.audit import record
from app.database.engine import write_session
from app.errors import Unavailable

log = logging.getLogger("tastemaker")

MOST_KEPT = 1000  # of those that wait to be written


class FailureLog:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="failures")
        self._guard = threading.Lock()
        self._failures: Counter[tuple[int, str, str]] = Counter()

    def note(self, user_id: int | None, address: str, what: str = "password") -> None:
        """`what` was wrong. What was typed is kept nowhere: people type passwords into the wrong field."""
        whose = "no account of ours" if user_id is None else f"user {user_id}"
        log.warning("sign-in failed: wrong %s for %s, from %r", what, whose, address)
        if user_id is None:
            return
        with self._guard:
            first = not self._failures
            if len(self._failures) < MOST_KEPT:
                self._failures[user_id, address, what] += 1
        if first:
            self._thread.submit(self._write)

    def finish(self) -> None:
        """Wait until everything noted is written."""
        self._thread.submit(int).result()

    def _write(self) -> None:
        with self._guard:
            failures, self._failures = self._failures, Counter()
        try:
            with write_session(self._engine) as session:
                for (user_id, address, what), times in failures.items():
                    details = {"wrong": what, "address": address} | ({"times": times} if times > 1 else {})
                    record(session, None, "sign_in.failed", f"user {user_id}", details)
        except (OperationalError, Unavailable) as error:
            log.warning("failed sign-ins were not noted: %s", error)
