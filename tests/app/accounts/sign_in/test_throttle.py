from __future__ import annotations

import threading

import pytest

from app.accounts.sign_in.throttle import LONGEST_WAIT_S, REMEMBERED, WINDOW_S, Limit, Throttle
from app.errors import TooMany

MARY, GRACE = Limit("mary", 2), Limit("grace", 2)


def test_waits_double_and_end() -> None:
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    throttle.begin(MARY)
    throttle.begin(MARY)
    with pytest.raises(TooMany, match="2 seconds"):
        throttle.begin(MARY)
    throttle.begin(GRACE)
    now = 1.5
    throttle.begin(MARY)
    with pytest.raises(TooMany, match="3 seconds"):
        throttle.begin(MARY)
    now = 1000.0
    throttle.begin(MARY)


def test_nobody_waits_longer_than_a_minute() -> None:
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    for _ in range(12):
        throttle.begin(MARY)
        now += LONGEST_WAIT_S


def test_after_a_quarter_of_an_hour_tries_are_forgotten() -> None:
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    for later in (0.0, WINDOW_S + 1):
        now = later
        throttle.begin(MARY)
        throttle.begin(MARY)
        with pytest.raises(TooMany):
            throttle.begin(MARY)


def test_of_many_tries_at_once_no_more_pass_than_may() -> None:
    """Each is counted before it is made: those in flight would otherwise all have passed before the first had failed."""
    throttle = Throttle(clock=lambda: 0.0)
    start, passed = threading.Barrier(40), []

    def attempt() -> None:
        start.wait()
        try:
            throttle.begin(Limit("mary", 5), Limit("from 10.0.0.1", 30))
            passed.append(1)
        except TooMany:
            pass

    threads = [threading.Thread(target=attempt) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 5


def test_what_is_refused_is_not_counted() -> None:
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    throttle.begin(Limit("mary", 1))
    for _ in range(50):
        with pytest.raises(TooMany):
            throttle.begin(Limit("mary", 1), GRACE)
    throttle.begin(GRACE)
    now = 1.1
    throttle.begin(Limit("mary", 1))


def test_success_forgets_the_failures_and_takes_its_own_try_back() -> None:
    throttle = Throttle(clock=lambda: 0.0)
    for _ in range(2):
        throttle.begin(MARY, GRACE)
    throttle.forget(MARY)
    throttle.take_back(GRACE)
    throttle.begin(MARY, GRACE)
    with pytest.raises(TooMany):
        throttle.begin(GRACE)


def test_memory_has_an_end() -> None:
    throttle = Throttle(clock=lambda: 0.0)
    for number in range(REMEMBERED + 10):
        throttle.begin(Limit(str(number), 1))
    throttle.begin(Limit("0", 1))
    with pytest.raises(TooMany):
        throttle.begin(Limit(str(REMEMBERED), 1))
