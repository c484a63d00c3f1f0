"""Slows down guessing of passwords: per account and per address, in memory of the one web process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from app.errors import TooMany
from app.language.languages import _

WINDOW_S = 15 * 60
ACCOUNT_TRIES = 5  # failures within the window before an account has to wait
ADDRESS_TRIES = 30
LONGEST_WAIT_S = 60.0  # short, so that nobody can lock someone else out for long
REMEMBERED = 20_000


class Throttle:
    """Failures by name; each one past the limit doubles the wait."""

    def __init__(self, tries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._tries = tries
        self._clock = clock
        self._guard = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, name: str) -> None:
        """Raises TooMany while the name has to wait."""
        with self._guard:
            failures = self._recent(name)
            excess = len(failures) - self._tries
            wait_s = failures[-1] + min(2.0**excess, LONGEST_WAIT_S) - self._clock() if excess >= 0 else 0.0
        if wait_s > 0:
            raise TooMany(_("Too many failed tries. Please wait %(seconds)s seconds and try again.", seconds=int(wait_s) + 1))

    def failed(self, name: str) -> None:
        with self._guard:
            failures = self._recent(name)
            failures.append(self._clock())
            self._failures[name] = failures
            self._failures.move_to_end(name)
            while len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        with self._guard:
            self._failures.pop(name, None)

    def _recent(self, name: str) -> deque[float]:
        failures = self._failures.get(name, deque(maxlen=self._tries + 8))
        while failures and failures[0] < self._clock() - WINDOW_S:
            failures.popleft()
        return failures
