"""Runs as jobs of a Ray cluster whose nodes see the data folder: one job a run, asked for over Ray's job API.

What is going on is read from the run's folder, as ever. Ray is asked for what the folder cannot say: that a job still waits, or
is gone with its node (docs/decisions/0063).
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.models.values import storable
from trainer.contract.folder import EXIT_CANCELLED, EXIT_RETRY
from trainer.contract.messages import Message
from trainer.worker.executors.command import THREADS, WITHOUT_TORCH
from trainer.worker.executors.executor import Work
from trainer.worker.executors.local import Local
from trainer.worker.executors.ray_files import end_of, hand_over, name_job, named_job, take_back
from trainer.worker.executors.ray_jobs import ENDED, NO_ROOM, Job, Jobs, Silent, Unsubmittable

ROOT: Final = Path(__file__).resolve().parents[3]  # where the rooms are, on each node under the same path
OURS: Final = "TASTEMAKER_"
TOLD_TOO: Final = frozenset({"HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"})  # a node's paths, caches and devices are its own
ASK_S: Final = 1.0  # between two questions to the cluster
AGAIN_S: Final = 5.0  # after one that was not answered
SETTLE_S: Final = 10.0  # for the last word of a job that Ray calls ended to be seen on this machine
KILLED_S: Final = 15.0  # after a kill, even where nobody says that it was done
SAVE_S: Final = 30  # that Ray lets a run save its state before it kills it
CRASHED: Final = 1


class Ray:
    """Starts runs as jobs, in so many processes on one node where their kind gains by them."""

    def __init__(self, jobs: Jobs, resources: Mapping[str, float], processes: int = 1) -> None:
        self._jobs = jobs
        self._resources = resources
        self._processes = processes

    def start(self, kind: str, folder: Path, environment: Mapping[str, str]) -> Work:
        if kind in WITHOUT_TORCH:  # which waits for others, and may hold a key of theirs
            return Local().start(kind, folder, environment)
        job = f"tastemaker-run-{folder.name}-{secrets.token_hex(8)}"
        told = {name: value for name, value in environment.items() if name.startswith(OURS) or name in TOLD_TOO}
        told.setdefault(THREADS, str(max(1, int(self._resources.get("CPU", 1)))))
        command = [sys.executable, "-m", "trainer.worker.executors.ray_node", job, kind, str(folder), str(self._processes)]
        hand_over(folder, job, told)
        try:
            name_job(folder, job)
        except BaseException:
            take_back(folder)
            raise
        return RayWork(self._jobs, job, folder, f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}", self._resources)

    def end_left_behind(self, folder: Path, grace_s: float) -> None:
        job = named_job(folder)
        if job is None:
            Local().end_left_behind(folder, grace_s)
            return
        left = RayWork(self._jobs, job, folder)
        left.stop()
        if left.wait(grace_s) is None:
            left.kill()
            left.wait(grace_s)
        name_job(folder, None)


class RayWork:
    """A job, submitted as soon as the cluster answers, or an earlier one that is found again."""

    def __init__(
        self, jobs: Jobs, job: str, folder: Path, command: str | None = None, resources: Mapping[str, float] | None = None
    ) -> None:
        self.job = job
        self._jobs = jobs
        self._folder = folder
        self._command = command  # as long as it is to be submitted
        self._resources = resources or {}
        self._status: int | None = None
        self._waits_for: Message | None = None
        self._ask_at = 0.0
        self._to_stop = False
        self._over_at: float | None = None  # when Ray first called it ended
        self._killed_at: float | None = None
        self.poll()

    def poll(self) -> int | None:
        if self._status is None:
            said = end_of(self._folder, self.job)
            if said is not None:
                self._end(said)
            elif time.monotonic() >= self._ask_at:
                self._ask()
            if self._killed_at is not None and time.monotonic() - self._killed_at > KILLED_S:
                self._end(-signal.SIGKILL)
        return self._status

    def stop(self) -> None:
        if self.poll() is None:
            self._to_stop = True
            if take_back(self._folder):
                self._end(EXIT_CANCELLED)
            self._ask()

    def kill(self) -> None:
        """No job may work there any more: what the node sees by itself, whether or not the cluster answers."""
        if self.poll() is None and self._killed_at is None:
            self._killed_at = time.monotonic()
            with contextlib.suppress(OSError):  # a disk that is full: Ray kills it then
                name_job(self._folder, None)
            self._to_stop = True
            if take_back(self._folder):
                self._end(-signal.SIGKILL)
            self._ask()

    def wait(self, timeout_s: float) -> int | None:
        end = time.monotonic() + timeout_s
        while (status := self.poll()) is None and time.monotonic() < end:
            time.sleep(0.1)
        return status

    def memory_bytes(self) -> int:
        """None of this machine's: its node holds it to what a run may take there."""
        return 0

    def waits_for(self) -> Message | None:
        return self._waits_for if self._status is None else None

    def _end(self, status: int) -> None:
        if self._status is None:
            self._status = status
            take_back(self._folder)

    def _ask(self) -> None:
        """Tell Ray what it has not been told yet, and see what it says."""
        self._ask_at = time.monotonic() + ASK_S
        try:
            if self._to_stop:
                self._jobs.stop(self.job)
                self._to_stop, self._command = False, None
            elif self._command is not None:
                self._jobs.submit(self.job, self._command, self._resources, {"RAY_JOB_STOP_WAIT_TIME_S": str(SAVE_S)})
                self._command = None
            self._judge(self._jobs.look(self.job))
        except Silent as why:
            self._ask_at = time.monotonic() + AGAIN_S
            self._waits_for = Message("cluster_silent", address=self._jobs.address, error=str(storable(str(why))))
        except Unsubmittable as why:
            self._log(str(why))
            self._end(CRASHED)

    def _judge(self, job: Job | None) -> None:
        self._waits_for = Message("waiting_for_cluster") if job is not None and job.status == "PENDING" else None
        if job is None:  # the cluster was started anew
            self._end(EXIT_RETRY)
        elif job.status in ENDED:
            self._over_at = self._over_at or time.monotonic()
            begun = not take_back(self._folder)
            if not begun:
                self._end_unbegun(job)
            elif time.monotonic() - self._over_at > SETTLE_S:
                self._log(job.message)
                with contextlib.suppress(OSError):  # else whoever goes on asks once more about what is gone
                    name_job(self._folder, None)
                self._end(-signal.SIGKILL)

    def _end_unbegun(self, job: Job) -> None:
        if job.error_type == NO_ROOM:
            self._end(EXIT_RETRY)
        elif job.status == "STOPPED":
            self._end(EXIT_CANCELLED)
        else:
            self._log(job.message)
            self._end(CRASHED)

    def _log(self, text: str) -> None:
        """What Ray says of a job that said nothing itself, for whoever reads the run's log."""
        with (self._folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"Ray: {' '.join(text.split())[-2000:]}\n")
