"""How much a project's run folders hold, how much room there is beside them, and how long that lasts.

By what the worker's last walk through the folders found (`sizes`): no page walks through them. Growth is what the runs of the
last four weeks hold, of all projects, as they share a disk. What was folded away since counts no more, so that with retention on
the disk is seen to last longer.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.disk.sizes import Size, last_walk
from app.models import Project, Run, utc_now

WINDOW: Final = timedelta(days=28)
DAY: Final = timedelta(days=1)
SOON_DAYS: Final = 14.0  # then somebody should do something
MOST_DAYS: Final = 3650.0
LITTLE: Final = 2**30  # octets: less than a round may need


@dataclass(frozen=True, slots=True)
class Usage:
    octets: int  # of this project's run folders
    free: int  # on that disk
    a_day: float | None  # octets by which all projects' folders grow; none before there is a day to go by

    @property
    def days_left(self) -> float | None:
        """None where nobody can say, or for more years than anybody plans for."""
        days = self.free / self.a_day if self.a_day else MOST_DAYS
        return days if days < MOST_DAYS else None

    @property
    def ends_soon(self) -> bool:
        return self.free < LITTLE or (self.days_left is not None and self.days_left < SOON_DAYS)


def usage(session: Session, project: Project, data: Path) -> Usage:
    by_project, a_day = _measured.of(session, data)
    return Usage(by_project.get(project.id, 0), _room(data / "runs"), a_day)


def _room(runs: Path) -> int:
    """Where nothing has run yet the folder is still to come."""
    place = next((one for one in (runs, *runs.parents) if one.exists()), Path("/"))
    return shutil.disk_usage(place).free


class _Measured:
    """What was added up last, by data folder: once for each walk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Path, tuple[int, Mapping[int, int], float | None]] = {}

    def of(self, session: Session, data: Path) -> tuple[Mapping[int, int], float | None]:
        walk, sizes = last_walk.of(data)
        with self._lock:
            if data not in self._found or self._found[data][0] != walk:
                self._found[data] = (walk, *_added_up(session, sizes))
            return self._found[data][1:]


_measured: Final = _Measured()


def _added_up(session: Session, sizes: Mapping[int, Size]) -> tuple[Mapping[int, int], float | None]:
    """Octets by project, and octets a day."""
    now, by_project, lately, oldest = utc_now(), defaultdict[int, int](int), 0, timedelta()
    when = func.coalesce(Run.ended_at, Run.started_at)
    for run_id, project_id, at in session.execute(select(Run.id, Run.project_id, when).where(when.is_not(None))):
        if run_id in sizes:
            by_project[project_id] += sizes[run_id].octets
            if (age := now - at) <= WINDOW:
                lately, oldest = lately + sizes[run_id].octets, max(oldest, age)
    return by_project, lately / (oldest / DAY) if oldest >= DAY else None
