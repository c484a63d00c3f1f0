"""Who asks, and who waits: so many and no more, a text to be scored before an answer to be written, else first come first served.

Shared by two threads: the one that talks to clients puts in, the one that computes takes out. Knows no model.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from trainer.contract.serving.questions import MOST_WAITING, Models, Scoring, Writing

MOST_TOGETHER: Final = 16  # clients whose answers are written together

Event = Mapping[str, Any]  # one line of a reply


class Full(Exception):
    """So many wait already, or the process is about to end."""


@dataclass(eq=False)
class Job:
    """What one client asks. `tell` takes events from any thread, and None once there will be no more."""

    asked: Writing | Scoring
    tell: Callable[[Event | None], None]
    gone: threading.Event = field(default_factory=threading.Event)  # the client does not listen any more


class Desk:
    """The jobs that wait."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Job) -> None:
        """Raises Full. Who has gone takes nobody's place."""
        with self._changed:
            if len(self._waiting) >= self._most:
                self._waiting = deque(one for one in self._waiting if not one.gone.is_set())
            if self._closed or len(self._waiting) >= self._most:
                raise Full
            self._waiting.append(job)
            self._changed.notify()

    def take(self, timeout_s: float) -> Job | None:
        """The next job, perhaps after a wait; those whose client has gone are forgotten."""
        with self._changed:
            self._changed.wait_for(self._any, timeout_s)
            return self._scoring() or self._first()

    def take_scoring(self) -> Job | None:
        """A text to be scored, if one waits: it takes a moment, an answer that is being written may take a minute."""
        with self._changed:
            return self._scoring()

    def take_beside(self, policies: Collection[str]) -> Job | None:
        """Who has waited longest of those that ask for answers of none of these policies, which are writing."""
        with self._changed:
            asked = (job for job in self._waiting if isinstance(job.asked, Writing) and not job.gone.is_set())
            found = next((job for job in asked if job.asked.models.policy not in policies), None)
            if found is not None:
                self._waiting.remove(found)
            return found

    def take_alike(self, models: Models) -> list[Job]:
        """Those that ask the same models for answers, as many as are written together, in their order."""
        with self._changed:
            asked = (job for job in self._waiting if isinstance(job.asked, Writing) and job.asked.models == models)
            found = list(islice((job for job in asked if not job.gone.is_set()), MOST_TOGETHER - 1))
            for job in found:
                self._waiting.remove(job)
            return found

    def close(self) -> list[Job]:
        """Take nothing in any more; returns those that wait."""
        with self._changed:
            self._closed = True
            left, self._waiting = list(self._waiting), deque()
            return left

    def _any(self) -> bool:
        while self._waiting and self._waiting[0].gone.is_set():
            self._waiting.popleft()
        return bool(self._waiting)

    def _first(self) -> Job | None:
        return self._waiting.popleft() if self._any() else None

    def _scoring(self) -> Job | None:
        found = next((job for job in self._waiting if isinstance(job.asked, Scoring) and not job.gone.is_set()), None)
        if found is not None:
            self._waiting.remove(found)
        return found
