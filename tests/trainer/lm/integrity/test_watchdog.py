"""What runs away is ended, what does not is left alone, and everything is afterwards as it was."""

from __future__ import annotations

import re
import resource
import signal
import time

import pytest

from trainer.lm.integrity.watchdog import RanAway, watched

MB = 2**20


def loops() -> None:
    while True:
        pass


def test_a_loop_is_ended_and_the_alarm_is_off_afterwards() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(RanAway), watched(0.1, 64 * MB):
        loops()
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert signal.getsignal(signal.SIGVTALRM) == before
    with watched(0.1, 64 * MB):
        pass
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass


@pytest.mark.parametrize(
    "step", [lambda: 9**9**9, lambda: re.match("(a+)+$", "a" * 40 + "b")], ids=["a power", "a regular expression"]
)
def test_one_long_step_is_ended_too(step: object) -> None:
    assert callable(step)
    with pytest.raises(RanAway), watched(0.1, 64 * MB):
        step()


def test_what_would_take_too_much_memory_fails_at_once_and_there_is_room_again_afterwards() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(RanAway), watched(5, 64 * MB):
        bytearray(128 * MB)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(128 * MB)) == 128 * MB


def test_an_error_of_what_is_watched_stays_what_it_is() -> None:
    with pytest.raises(KeyError), watched(5, 64 * MB):
        raise KeyError
