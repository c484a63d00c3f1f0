"""What torchrun's processes ended with, told by one status. Whole runs: tests/trainer/worker/executors/test_local.py."""

from __future__ import annotations

import signal

import pytest

from trainer.contract.folder import EXIT_REFUSED, EXIT_RETRY
from trainer.lm.machine.torchrun import ended_first


@pytest.mark.parametrize(
    ("endings", "status"),
    [
        pytest.param([(5.0, EXIT_RETRY)], EXIT_RETRY, id="one"),
        pytest.param([(5.0, EXIT_REFUSED), (5.0, 1)], EXIT_REFUSED, id="the first refused, and the others lost it"),
        pytest.param([(9.0, 3), (5.0, 1)], 1, id="one crashed, and torchrun had the first save its state"),
        pytest.param([(5.0, 1), (5.0, -9)], -9, id="one was killed, and the first lost it"),
        pytest.param([(5.0, 1), (36.0, -9)], 1, id="one crashed, and another did not end for it"),
        pytest.param([(5.0, 1), (5.0, -signal.SIGTERM)], 1, id="one crashed, and torchrun ended another"),
        pytest.param([(5.0, -signal.SIGABRT), (5.1, -9)], -9, id="one was killed, and a lost connection aborted another"),
        pytest.param([(5.0, 1), (5.0, -signal.SIGABRT)], -signal.SIGABRT, id="one was aborted, and the first lost it"),
        pytest.param([(5.0, -signal.SIGTERM)], -signal.SIGTERM, id="somebody ended one"),
    ],
)
def test_the_status_is_that_of_what_ended_the_run(endings: list[tuple[float, int]], status: int) -> None:
    assert ended_first(endings) == status
