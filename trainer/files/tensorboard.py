"""The figures of a run as TensorBoard events beside metrics.jsonl, where TASTEMAKER_TENSORBOARD asks for them.

tensorboardX writes them, a light package that is not among the requirements; whoever wants curves in TensorBoard installs it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.contract.folder import Refused
from trainer.contract.messages import Message

VARIABLE = "TASTEMAKER_TENSORBOARD"
ON = {"1", "true", "t", "yes", "y", "on"}  # as the web side's settings read a flag


def wanted() -> bool:
    return os.environ.get(VARIABLE, "").lower() in ON


def require() -> None:
    """Raise Refused, saying what to do, when events are asked for and cannot be written: before the run, not after it."""
    if wanted():
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise Refused(Message("no_tensorboard", variable=VARIABLE)) from None


class Events:
    """The events of one run, in a folder; each step is in the file when `write` returns.

    A new file begins where steps are done again: its first event tells readers to forget what was said about them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._last = -1

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        if self._file is None or step <= self._last:
            self._begin()
            start = SessionLog(status=SessionLog.START)
            self._file.write_event(Event(wall_time=time.time(), step=step, session_log=start))
        self._last = step
        figures = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if math.isfinite(value)]
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=figures)))
        self._file.flush()

    def _begin(self) -> None:
        # Not SummaryWriter: its flush does not wait for its queue, and a run that ends would lose its last steps.
        from tensorboardX.event_file_writer import EventsWriter

        if self._file is not None:
            self._file.close()
        self._folder.mkdir(exist_ok=True)
        # A name of its own: two files begun in the same second would be one.
        self._file = EventsWriter(str(self._folder / "events"), f".{time.monotonic_ns()}")
