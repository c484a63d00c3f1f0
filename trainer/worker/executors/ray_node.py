"""What a Ray job does on its node: `python -m trainer.worker.executors.ray_node JOB KIND FOLDER PROCESSES`.

It starts the run as a worker would that stood on this machine, holds it to the memory that a run may take here, and writes how it
ended into the run's folder. It ends the run at once when the folder names another job, or none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.runs.limits import GIB
from trainer.contract.environment import RUN_MEMORY, needed, run_memory_bytes
from trainer.contract.folder import EXIT_REFUSED, EXIT_RETRY, keep_private, write_atomic
from trainer.contract.messages import Message, as_json
from trainer.worker.executors.command import tidy
from trainer.worker.executors.local import Local, LocalWork
from trainer.worker.executors.ray_files import is_replaced, say_end, take_over

LOOK_S: Final = 0.5
GRACE_S: Final = 5.0  # of what an earlier job left on this node


def main(arguments: Sequence[str]) -> int:
    """Do the run of this job, and return its exit status."""
    keep_private()
    # Ray tells all that a job has started to stop, each process for itself. This one has to say how the run ended.
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, signal.SIG_IGN)
    job, kind, place, processes = arguments
    folder = Path(place)
    if not folder.is_dir():
        print(
            f"{folder} is not on this node: the data folder must be on a disk that all nodes see, under one path", file=sys.stderr
        )
        return EXIT_RETRY
    told = take_over(folder, job)
    if told is None:
        print(f"{folder} is not for job {job} to work in: it was cancelled, or another has it now.", file=sys.stderr)
        return EXIT_RETRY
    status = _do(job, kind, folder, int(processes), told)
    say_end(folder, job, status)
    return status


def _do(job: str, kind: str, folder: Path, processes: int, told: dict[str, str]) -> int:
    here = Local(processes)
    here.end_left_behind(folder, GRACE_S)
    tidy(folder)
    environment = needed(os.environ) | told
    os.environ[RUN_MEMORY] = told.get(RUN_MEMORY, "")
    return _watched(here.start(kind, folder, environment), job, folder)


def _watched(work: LocalWork, job: str, folder: Path) -> int:
    may_take = run_memory_bytes()
    while (status := work.wait(LOOK_S)) is None:
        if is_replaced(folder, job):
            work.kill()
        elif work.memory_bytes() > may_take:
            work.kill()
            work.wait(GRACE_S)
            reason = as_json(Message("run_took_memory", gigabytes=may_take / GIB))
            write_atomic(folder / "result.json", json.dumps({"status": "refused", "reason": reason}))
            return EXIT_REFUSED
    return status


if __name__ == "__main__":
    ended = main(sys.argv[1:])
    sys.exit(ended if ended >= 0 else 128 - ended)
