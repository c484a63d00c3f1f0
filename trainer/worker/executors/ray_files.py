"""What a worker and the job that it had started on another machine tell each other through the run's folder.

The disk is one that both see, though one may see late what the other wrote. `job.json` names the job that may work in the folder:
one that is not named ends its run at once. `told.json` is what the run is told, keys included, for this account alone; the job
takes it away as it begins, so whoever takes it away before keeps it from beginning. `job_end.json` is the job's last word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trainer.contract.folder import write_atomic

JOB: Final = "job.json"
TOLD: Final = "told.json"
END: Final = "job_end.json"


def name_job(folder: Path, job: str | None) -> None:
    """From now on this one alone may work there; None: no job may."""
    write_atomic(folder / JOB, json.dumps({"job": job}))


def named_job(folder: Path) -> str | None:
    job = _read(folder / JOB).get("job")
    return job if isinstance(job, str) else None


def is_replaced(folder: Path, job: str) -> bool:
    """Whether the folder says that this one may not work there. What cannot be read just now says nothing."""
    found = _read(folder / JOB)
    return "job" in found and found["job"] != job


def hand_over(folder: Path, job: str, environment: Mapping[str, str]) -> None:
    """Leave what the run is told for its job."""
    write_atomic(folder / TOLD, json.dumps({"job": job, "environment": dict(environment)}))


def take_over(folder: Path, job: str) -> dict[str, str] | None:
    """What the run is told, for its job, once; None where the job is not to begin."""
    _look_again(folder)
    found = _read(folder / TOLD)
    if found.get("job") != job or not take_back(folder) or is_replaced(folder, job):
        return None
    return {str(name): str(value) for name, value in found["environment"].items()}


def take_back(folder: Path) -> bool:
    """Whether what was left for a job was still there: then the job has not begun, and never will."""
    try:
        (folder / TOLD).unlink()
    except FileNotFoundError:
        return False
    return True


def say_end(folder: Path, job: str, status: int) -> None:
    """How the run of this job ended: the exit status of `python -m trainer`, negative for a signal."""
    write_atomic(folder / END, json.dumps({"job": job, "status": status}))


def end_of(folder: Path, job: str) -> int | None:
    """What the job said last; None as long as it has said nothing."""
    _look_again(folder)
    found = _read(folder / END)
    return int(found["status"]) if found.get("job") == job else None


def _look_again(folder: Path) -> None:
    """A shared disk remembers for a while which names were not there; to list the folder has it ask."""
    try:
        with os.scandir(folder) as entries:
            for _ in entries:
                break
    except OSError:
        return


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
