"""A run as a process: started in its own group, stopped politely then firmly, found again after its parent died.

Knows folders and processes; no database.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from app.settings import Settings
from trainer.contract.environment import RUN_MEMORY, die_with, go_first, needed, session_gives_way, with_rewards
from trainer.contract.folder import forget_unfinished, write_atomic
from trainer.contract.outside.key import KEY_VARIABLE

# A training step frees and takes the same large blocks again; given back to the kernel each time, they cost a page fault per
# 4 KiB. Huge pages and never giving back made a step 1.4-1.75 times as fast (glibc; elsewhere these are ignored).
# A thread that waits for another looks again for some microseconds and then gives its core up. To sleep at once
# made updates slower (bench/RESULTS.md); to spin as long as the library does by itself made a small model's step many times as
# slow where others work on the same two cores.
TUNING = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
    "GOMP_SPINCOUNT": "2000",
}


def environment_of(settings: Settings, outside: Iterable[str], key_variable: str | None = None) -> dict[str, str]:
    """What a run is told that is paid by these rewards outside of the model: their addresses and keys, and no other.

    `key_variable`: the one that holds the key of the model outside that it asks.
    """
    environment = needed(os.environ) | {"HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("TASTEMAKER_THREADS", None)  # 0 means for us what its absence means for a run
    if settings.threads:
        environment["TASTEMAKER_THREADS"] = str(settings.threads)
    environment[RUN_MEMORY] = str(settings.run_memory_gb)
    keys = {name: key.get_secret_value() for name, key in settings.reward_keys.items()}
    if key_variable is not None and KEY_VARIABLE.fullmatch(key_variable) and key_variable in os.environ:
        environment[key_variable] = os.environ[key_variable]
    return environment | with_rewards(settings.rewards, keys, outside)


class RunProcess:
    """`python -m trainer KIND FOLDER`, with standard output and error going to log.txt."""

    def __init__(self, kind: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        parent = os.getpid()
        with (folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainer", kind, str(folder)],
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
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save what it needs to resume and to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, or None when it still runs after so long."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def end_orphan(folder: Path, grace_s: float) -> None:
    """Stop the process that a dead supervisor left at work in this folder, if there is one, before a second is started."""
    orphan = _orphan(folder)
    if orphan is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        orphan.terminate()
        with contextlib.suppress(psutil.TimeoutExpired):
            orphan.wait(grace_s)
            return
        orphan.kill()
        orphan.wait(grace_s)


def tidy(folder: Path) -> None:
    """Remove what a process that was killed had begun to write there, unless one is at work in the folder.

    To be called before a process is started: `process.json` is written beside one that has begun.
    """
    if not folder.is_dir():
        return
    with (folder / "lock").open("a") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        forget_unfinished(folder, silent_s=0)


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
