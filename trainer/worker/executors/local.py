"""Runs as processes of this machine: stopped politely then firmly, found again after the worker died that started them.

One process a run, or several that torchrun starts (docs/decisions/0051).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from app.runs.limits import memory_of
from trainer.contract.environment import die_with, go_first, session_gives_way
from trainer.contract.folder import write_atomic
from trainer.worker.executors.command import TUNING, command_of, share_of, shared_out


class Local:
    """Starts runs here, in so many processes where their kind gains by them."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes

    def start(self, kind: str, folder: Path, environment: Mapping[str, str]) -> LocalWork:
        shared = shared_out(environment, share_of(kind, self._processes), os.cpu_count() or 1)
        return LocalWork(command_of(kind, folder, self._processes), folder, shared)

    def end_left_behind(self, folder: Path, grace_s: float) -> None:
        orphan = _orphan(folder)
        if orphan is None:
            return
        family = _family(orphan)
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.terminate()
        _gone, alive = psutil.wait_procs(family, grace_s)
        _kill(alive)
        psutil.wait_procs(alive, grace_s)


class LocalWork:
    """A command in the run's folder, with standard output and error going to log.txt."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        parent = os.getpid()
        with (folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**TUNING, **environment},
                start_new_session=True,
                # Safe because what runs before the new program imports nothing and takes no lock of another thread.
                preexec_fn=lambda: _begin(parent),
            )
        try:
            _remember(folder, self._process.pid)
        except BaseException:  # nobody would watch it, or find it again
            self.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """It and whatever it started, in whichever sessions: torchrun gives each of its processes one."""
        if self._process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                _kill(_family(psutil.Process(self._process.pid)))

    def wait(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def memory_bytes(self) -> int:
        return memory_of(self._process.pid)

    def waits_for(self) -> None:
        return None


def _family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it started, it first."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = process.children(recursive=True)
    return [process, *children]


def _kill(processes: list[psutil.Process]) -> None:
    """The first last, and so that it starts nothing meanwhile: by its end the kernel asks the others to save their state."""
    for one in processes[:1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.suspend()
    for one in reversed(processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _orphan(folder: Path) -> psutil.Process | None:
    try:
        found = json.loads((folder / "process.json").read_text(encoding="utf-8"))
        process = psutil.Process(found["pid"])
        # A process id is used again some day; the moment it was born tells them apart.
        return process if abs(process.create_time() - found["created"]) < 1 and process.is_running() else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def _remember(folder: Path, pid: int) -> None:
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = time.time()
    # Not for a slow disk to hold up: after a power cut there is no process to be found.
    write_atomic(folder / "process.json", json.dumps({"pid": pid, "created": created}), durable=False)


def _begin(parent: int) -> None:
    """In the child: its session gives way as the supervisor's does, and no run goes on without anybody listening."""
    session_gives_way()
    go_first()
    die_with(parent)
