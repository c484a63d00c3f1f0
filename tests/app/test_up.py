"""`tastemaker up` keeps its processes alive; the journey through a round proves the rest."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from app.up import _Kept

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
QUITTER = (sys.executable, "-c", "raise SystemExit(3)")


def keep_until_started(one: _Kept, other_than: int, patience_s: float = 10.0) -> int:
    deadline = time.monotonic() + patience_s
    while one.pid in (None, other_than):
        assert time.monotonic() < deadline
        one.keep()
        time.sleep(0.05)
    assert one.pid is not None
    return one.pid


def test_a_process_that_dies_is_started_again(capfd: pytest.CaptureFixture[str]) -> None:
    one = _Kept(SLEEPER)
    one.start()
    first = one.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    second = keep_until_started(one, first)
    assert second != first
    assert "ended with status -9; starting it again" in capfd.readouterr().err
    one.stop()
    one.wait()
    assert one.ended


def test_a_process_that_keeps_dying_is_tried_less_and_less_often() -> None:
    one = _Kept(QUITTER)
    one.start()
    first = one.pid
    assert first is not None
    keep_until_started(one, first)
    deadline = time.monotonic() + 10
    while not one.ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    one.keep()
    assert one.pid is None, "the second pause is longer than this test waits"
