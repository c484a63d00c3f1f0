"""`tastemaker up`: the web process and the worker side by side, started again when one dies, stopped together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

from app.settings import Settings

WEB = (sys.executable, "-m", "app.cli", "serve", "--quiet")  # `up` says where it is
WORKER = (sys.executable, "-m", "trainer.worker.supervisor")
LOOK_S = 0.2
START_S = 30.0  # for the web process to listen
STOP_S = 40.0  # longer than a run may take to save its state
SETTLED_S = 10.0  # a process that lived so long had started well
LONGEST_PAUSE_S = 30.0  # before another try at a process that keeps dying


def work() -> int:
    """`tastemaker work`: become the worker. The web side imports nothing of it."""
    os.execv(WORKER[0], WORKER)


def up(settings: Settings, line: str) -> int:
    """Run both until SIGTERM, SIGHUP or Ctrl-C; `line` is printed once people can open the pages. Returns the exit status."""
    told_to_stop = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told_to_stop
        told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup has it ignored
        signal.signal(signal.SIGHUP, stop)  # the terminal was closed
    web, worker = _Kept(WEB), _Kept(WORKER)
    try:
        web.start()
        if not _listens(settings, web, lambda: told_to_stop):
            return 0 if told_to_stop else 1
        print(line, flush=True)
        worker.start()
        while not told_to_stop:
            web.keep()
            worker.keep()
            time.sleep(LOOK_S)
        return 0
    finally:
        for one in (worker, web):
            one.stop()
        for one in (worker, web):
            one.wait()


def _listens(settings: Settings, web: _Kept, told_to_stop: Callable[[], bool]) -> bool:
    """Wait until the web process answers; False when it ended, having said why itself, or when it is time to stop."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and not web.ended and not told_to_stop():
        try:
            socket.create_connection((host, settings.port), timeout=1).close()
        except OSError:
            time.sleep(LOOK_S)
        else:
            return True
    return False


class _Kept:
    """A process that is started again when it dies, after a pause that grows while it keeps dying."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._next_at = 0.0
        self._pause_s = 0.0

    def start(self) -> None:
        # A session of its own: Ctrl-C reaches `up` alone, which stops both in order.
        self._process = subprocess.Popen(self._command, start_new_session=True)
        self._started_at = time.monotonic()

    def keep(self) -> None:
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            settled = time.monotonic() - self._started_at > SETTLED_S
            self._pause_s = 0.0 if settled else min(LONGEST_PAUSE_S, 1 + 2 * self._pause_s)
            self._next_at = time.monotonic() + self._pause_s
            self._process = None
            print(f"{' '.join(self._command[1:])} ended with status {status}; starting it again", file=sys.stderr, flush=True)
        if time.monotonic() >= self._next_at:
            self.start()

    @property
    def pid(self) -> int | None:
        """None between two tries."""
        return self._process.pid if self._process is not None else None

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
