"""A stranger's code in this process, a model's chat template, is ended once it takes too much time or memory.

transformers renders templates in a sandbox that keeps them from everything but arithmetic and texts. Both have no end by
themselves: a loop in a loop, a text doubled forty times, 9**9**9. To be used in the main thread.
"""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

import psutil

from trainer.contract.environment import RAN_AWAY

AGAIN_S: Final = 0.5


class RanAway(BaseException):
    """It was ended. No Exception, which Jinja swallows while it computes what is constant in a template."""


@contextlib.contextmanager
def watched(seconds: float, memory_bytes: int) -> Iterator[None]:
    """Raises RanAway where the block computes for longer, or takes more memory than there was before.

    Seconds of computing, so that a busy machine ends nobody; Python looks for the signal between two steps, and in the long ones
    that a template can ask of it (powers, regular expressions) as well. The memory is of the address space (Linux), which
    nothing else of this process asks for meanwhile; what would take more fails at once, before it is filled.
    """
    try:
        with _less_space(memory_bytes), _alarm(seconds):
            yield
    except MemoryError as error:
        raise RanAway from error


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def end(_signal: int, _frame: FrameType | None) -> None:
        raise RanAway

    before = signal.signal(signal.SIGVTALRM, end)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN_S)  # what is raised in a `__del__` Python drops
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def ended(seconds: float) -> Iterator[None]:
    """The kernel ends this process by RAN_AWAY where the block computes for longer, in whatever: to compare two lists of lists
    of lists is one step, in which Python looks for no signal.
    """
    before = signal.signal(RAN_AWAY, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(RAN_AWAY, before)


@contextlib.contextmanager
def _less_space(memory_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + memory_bytes
    with contextlib.suppress(ValueError, OSError):  # above the hard limit, or of a system that has none
        resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
