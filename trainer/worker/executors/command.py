"""What starts a run, whoever does it: its command, its environment, and a folder without what a killed process had begun."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from app.settings import Settings
from trainer.contract.environment import RUN_MEMORY, needed, with_rewards
from trainer.contract.folder import forget_unfinished
from trainer.contract.outside.key import KEY_VARIABLE

# A training step frees and takes the same large blocks again; given back to the kernel each time, they cost a page fault per
# 4 KiB. Huge pages and never giving back made a step 1.4-1.75 times as fast (glibc; elsewhere these are ignored).
# A thread that waits for another looks again for some microseconds and then gives its core up. To sleep at once
# made updates slower (bench/RESULTS.md); to spin as long as the library does by itself made a small model's step many times as
# slow where others work on the same two cores.
TUNING: Final = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
    "GOMP_SPINCOUNT": "2000",
}
THREADS: Final = "TASTEMAKER_THREADS"
WITHOUT_TORCH: Final = frozenset({"ask"})  # kinds of runs that open no model: torch takes seconds to load
SHARED: Final = frozenset({"sample", "ppo", "preference", "sft"})  # kinds that several processes do faster than one


def command_of(kind: str, folder: Path, processes: int) -> list[str]:
    """What does the run, in so many processes where its kind gains by them."""
    if share_of(kind, processes) == 1:
        return [sys.executable, "-m", "trainer", kind, str(folder)]
    return [sys.executable, "-m", "trainer.lm.machine.torchrun", str(processes), kind, str(folder)]


def share_of(kind: str, processes: int) -> int:
    """How many of the processes that there may be are started for a run of this kind."""
    return processes if kind in SHARED else 1


def shared_out(environment: Mapping[str, str], processes: int, cores: int) -> dict[str, str]:
    """What each of so many processes is told: its part of the threads that the run may have, or else of the cores."""
    if processes == 1:
        return dict(environment)
    threads = int(environment.get(THREADS, cores)) // processes
    return {**environment, THREADS: str(max(1, threads))}


def environment_of(settings: Settings, outside: Iterable[str], key_variable: str | None = None) -> dict[str, str]:
    """What a run is told that is paid by these rewards outside of the model: their addresses and keys, and no other.

    `key_variable`: the one that holds the key of the model outside that it asks.
    """
    environment = needed(os.environ) | {"HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop(THREADS, None)  # 0 means for us what its absence means for a run
    if settings.threads:
        environment[THREADS] = str(settings.threads)
    environment[RUN_MEMORY] = str(settings.run_memory_gb)
    keys = {name: key.get_secret_value() for name, key in settings.reward_keys.items()}
    if key_variable is not None and KEY_VARIABLE.fullmatch(key_variable) and key_variable in os.environ:
        environment[key_variable] = os.environ[key_variable]
    return environment | with_rewards(settings.rewards, keys, outside)


def tidy(folder: Path) -> None:
    """Remove what a process that was killed had begun to write there, unless one is at work in the folder.

    To be called before a run is started: who starts it writes beside it.
    """
    if not folder.is_dir():
        return
    with (folder / "lock").open("a") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        forget_unfinished(folder, silent_s=0)
