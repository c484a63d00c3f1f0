"""How large each run's folder is, as the worker found it last: it walks through them, a little at a time; the web reads that.

One small file of the data folder has it, written whole after each walk. Lost, it means nothing: the next walk writes it again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, func, select

from app.database.engine import read_session
from app.disk.files import files_of_states, files_of_weights
from app.models import Run
from app.runs.run_files import run_folder
from trainer.contract.folder import write_atomic

NAME: Final = "run_sizes.json"  # in the folder of what may be lost
PAUSE_S: Final = 300.0  # from the beginning of one walk to the next


@dataclass(frozen=True, slots=True)
class Size:
    """Octets of a run's folder, and of these what a prune would take of it once nothing refers to it."""

    octets: int
    weights: int  # with exports
    states: int


@dataclass
class Walk:
    """What one worker remembers of its walk through the folders."""

    began_at: float | None = None  # by the monotonic clock
    to_measure: list[int] = field(default_factory=list)
    found: dict[int, Size] = field(default_factory=dict)

    def go_on(self, engine: Engine, data: Path, budget_s: float) -> None:
        """Measure for about so long; at the end of a walk what it found takes the place of what the last one found."""
        end = time.monotonic() + budget_s
        if not self.to_measure:
            if self.began_at is not None and time.monotonic() < self.began_at + PAUSE_S:
                return
            self.began_at, self.found = time.monotonic(), {}
            with read_session(engine) as session:
                begun = func.coalesce(Run.ended_at, Run.started_at).is_not(None)
                self.to_measure = list(session.scalars(select(Run.id).where(begun).order_by(Run.id)))
        runs = (data / "runs").resolve()
        while self.to_measure:
            run_id = self.to_measure.pop()
            self.found[run_id] = measured(runs, run_id)
            if time.monotonic() > end:
                break
        if not self.to_measure:
            place = _place(data)
            place.parent.mkdir(exist_ok=True)
            write_atomic(place, json.dumps({number: astuple(size) for number, size in self.found.items()}), durable=False)


def measured(runs: Path, run_id: int) -> Size:
    weights = sum(octets for _kind, _path, octets in files_of_weights(runs, run_id))
    return Size(_octets(run_folder(runs, run_id)), weights, sum(octets for _path, octets in files_of_states(runs, run_id)))


def _octets(folder: Path) -> int:
    """Of its files; one that is removed meanwhile counts nothing."""
    octets = 0
    for place, _folders, names in os.walk(folder):
        for name in names:
            try:
                octets += Path(place, name).lstat().st_size
            except OSError:
                continue
    return octets


class Sizes:
    """What the last walk found, read again only where it has changed."""

    def __init__(self) -> None:
        self._found: dict[Path, tuple[int, Mapping[int, Size]]] = {}

    def of(self, data: Path) -> tuple[int, Mapping[int, Size]]:
        """A number that is another after each walk, and the sizes by run; 0 and none before the first."""
        place = _place(data)
        try:
            written = place.stat().st_mtime_ns
            if self._found.get(place, (0, {}))[0] != written:
                rows = json.loads(place.read_text(encoding="utf-8"))
                self._found[place] = (written, {int(number): Size(*row) for number, row in rows.items()})
        except (OSError, ValueError, TypeError, AttributeError):  # not there yet, or not ours
            return 0, {}
        return self._found[place]


last_walk: Final = Sizes()


def _place(data: Path) -> Path:
    return data.resolve() / "cache" / NAME
