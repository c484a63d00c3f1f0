"""What runs away is ended, what does not is left alone, and everything is afterwards as it was."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
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


class Slow:
    def __del__(self) -> None:
        began = time.process_time()
        while time.process_time() - began < 0.3:
            pass


@pytest.mark.timeout(30)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_is_ended_also_where_python_dropped_the_first_end() -> None:
    def drop_one_and_loop() -> None:
        Slow()
        loops()

    with pytest.raises(RanAway), watched(0.1, 64 * MB):
        drop_one_and_loop()


COMPARES = """
from trainer.lm.integrity.watchdog import ended, watched
with ended(0.2):
    pass
began = __import__("time").process_time()
while __import__("time").process_time() - began < 0.4:
    pass
print("off again", flush=True)
one, other = [], []
for _ in range(60):
    one, other = [one, one], [other, other]
with ended(0.5), watched(0.1, 2**26):
    one == other
"""


@pytest.mark.timeout(60)
def test_a_step_in_which_python_looks_for_no_signal_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARES], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGPROF, "off again\n")


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
