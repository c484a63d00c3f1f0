"""How much memory and time a run, or a look at a base model, may take, and whether it has taken more: docs/decisions/0019."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Final

import psutil

from app.settings import Settings
from trainer.contract.environment import SHARE, memory_bytes
from trainer.contract.messages import Message

GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may take."""

    memory_bytes: float
    time_s: float

    def exceeded(self, memory_bytes: int, began: float) -> Message | None:
        """Why a run that takes so much memory, and began at this moment of the monotonic clock, has to end."""
        if memory_bytes > self.memory_bytes:
            return Message("run_took_memory", gigabytes=self.memory_bytes / GIB)
        if time.monotonic() - began > self.time_s:
            return Message("run_took_time", hours=self.time_s / 3600)
        return None


def limits_of(settings: Settings) -> Limits:
    """Those of the settings; the memory, where they say none, nine tenths of the machine's or its container's."""
    return Limits(settings.run_memory_gb * GIB or SHARE * memory_bytes(), settings.run_hours * 3600)


def memory_of(pid: int) -> int:
    """Bytes that a process and those it started hold for themselves; pages of files, which the kernel can drop, not counted."""
    held = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                held += _own(one)
    return held


def _own(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))  # without `shared`, on macOS, mapped files count
