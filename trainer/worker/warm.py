"""Keeps the warm process (`trainer/serve`) while somebody asks it: started by the first who does, ended when nobody has for long.

On a small machine training comes first: beside a run the process is let go sooner, and at once where memory gets scarce.
Of several workers of one data folder one keeps it. Knows folders and processes; no database.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

import psutil

from trainer.contract.environment import memory_bytes
from trainer.contract.serving.place import asked_at, folder_of
from trainer.worker.executors.command import TUNING

IDLE_S: Final = 3600.0  # without a question; to open the models again takes seconds
IDLE_BESIDE_A_RUN_S: Final = 300.0
SCARCE: Final = 0.1  # of the memory left, beside a run: then it goes
ENOUGH: Final = 0.2  # and with so much it may come back
STOP_S: Final = 10.0  # then it is killed
LONGEST_PAUSE_S: Final = 60.0  # before another try at a process that keeps dying


class Warm:
    """`look()` does what is to be done now."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self._data = data.resolve()
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: TextIO | None = None
        self._stopped_at: float | None = None  # monotonic seconds
        self._started_at = self._next_at = self._pause_s = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def look(self, beside_a_run: bool) -> None:
        """Start it, end it, or start it again, whichever is due."""
        wanted = self._asked_lately(beside_a_run) and not (beside_a_run and self._scarce())
        if self._process is None:
            if wanted and time.monotonic() >= self._next_at:
                self._start()
        elif self._process.poll() is not None:
            self._ended()
        elif not wanted:
            self._stop()

    def close(self) -> None:
        """The worker leaves."""
        if self._process is not None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._let_go()

    def _asked_lately(self, beside_a_run: bool) -> bool:
        asked = asked_at(self._data)
        return asked is not None and time.time() - asked < (IDLE_BESIDE_A_RUN_S if beside_a_run else IDLE_S)

    def _scarce(self) -> bool:
        return psutil.virtual_memory().available < (SCARCE if self._process else ENOUGH) * memory_bytes()

    def _start(self) -> None:
        self._lock = _hold(folder_of(self._data) / "lock")
        if self._lock is None:
            self._next_at = time.monotonic() + 1.0  # another worker keeps it
            return
        with (folder_of(self._data) / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainer.serve.process", str(self._data), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"GOMP_SPINCOUNT": TUNING["GOMP_SPINCOUNT"], **self._environment},
                start_new_session=True,
            )
        self._started_at = time.monotonic()

    def _stop(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._signal(signal.SIGTERM)
        elif time.monotonic() - self._stopped_at > STOP_S:
            self._signal(signal.SIGKILL)

    def _ended(self) -> None:
        """Told to, or it died: then it comes back, after a pause that grows while it keeps dying."""
        settled = self._stopped_at is not None or time.monotonic() - self._started_at > LONGEST_PAUSE_S
        self._pause_s = 0.0 if settled else min(LONGEST_PAUSE_S, 1 + 2 * self._pause_s)
        self._next_at = time.monotonic() + self._pause_s
        self._let_go()

    def _let_go(self) -> None:
        self._process = self._stopped_at = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _hold(path: Path) -> TextIO | None:
    """The file, locked until it is closed or this process dies; None where another worker holds it."""
    file = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
