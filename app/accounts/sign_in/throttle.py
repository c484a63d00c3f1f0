"""Slows down guessing: tries by name, counted before they are made, in memory of the one web process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import TooMany
from app.language.languages import ngettext

WINDOW_S = 15 * 60
LONGEST_WAIT_S = 60.0
REMEMBERED = 20_000


@dataclass(frozen=True)
class Limit:
    """How many tries within the window a name has before each further one doubles the wait."""

    name: str
    tries: int


class Throttle:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, *limits: Limit) -> None:
        """Count a try under each of these names, before it is made: of many at once no more pass than may.

        Raises TooMany, and counts nothing, while one of them has to wait.
        """
        with self._guard:
            now = self._clock()
            wait_s = max(self._wait_s(limit, now) for limit in limits)
            if wait_s <= 0:
                for limit in limits:
                    self._count(limit, now)
        if wait_s > 0:
            raise TooMany(
                ngettext(
                    "Too many failed tries. Please wait %(num)s second and try again.",
                    "Too many failed tries. Please wait %(num)s seconds and try again.",
                    int(wait_s) + 1,
                ),
                int(wait_s) + 1,
            )

    def take_back(self, *limits: Limit) -> None:
        """The try that was counted last was none that failed."""
        with self._guard:
            for limit in limits:
                tries = self._tries.get(limit.name)
                if tries:
                    tries.pop()

    def forget(self, *limits: Limit) -> None:
        with self._guard:
            for limit in limits:
                self._tries.pop(limit.name, None)

    def _wait_s(self, limit: Limit, now: float) -> float:
        tries = self._recent(limit, now)
        excess = len(tries) - limit.tries
        return tries[-1] + min(2.0**excess, LONGEST_WAIT_S) - now if excess >= 0 else 0.0

    def _count(self, limit: Limit, now: float) -> None:
        tries = self._recent(limit, now)
        tries.append(now)
        self._tries[limit.name] = tries
        self._tries.move_to_end(limit.name)
        while len(self._tries) > REMEMBERED:
            self._tries.popitem(last=False)

    def _recent(self, limit: Limit, now: float) -> deque[float]:
        tries = self._tries.get(limit.name) or deque(maxlen=limit.tries + 8)
        while tries and tries[0] < now - WINDOW_S:
            tries.popleft()
        return tries
