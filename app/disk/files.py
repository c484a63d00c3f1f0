"""The files of a run that a prune may take: weights, exports, states. Nothing outside of the run's own folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from app.runs.run_files import WEIGHTS, export_folder, run_folder

Kind = Literal["weights", "exports", "states"]
KINDS: tuple[Kind, ...] = ("weights", "exports", "states")


def files_of_weights(runs: Path, run_id: int) -> Iterator[tuple[Kind, Path, int]]:
    """Of what the run made: its kind, its place and its size."""
    for path, octets in _files(runs, run_folder(runs, run_id) / "checkpoint"):
        if path.suffix == WEIGHTS:
            yield "weights", path, octets
    for path, octets in _files(runs, export_folder(runs, run_id)):
        yield "exports", path, octets


def files_of_states(runs: Path, run_id: int) -> Iterator[tuple[Path, int]]:
    yield from _files(runs, run_folder(runs, run_id) / "state")


def _files(runs: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    """Plain files below a folder, and folders in which nothing is. No link is followed or removed, and a file that has another
    name elsewhere stays: it is shared, and would free nothing.
    """
    if folder.resolve() != folder or not folder.is_relative_to(runs):
        return
    for place, folders, names in os.walk(folder):
        folders.sort()
        if not folders and not names:
            yield Path(place), 0
        for name in sorted(names):
            path = Path(place) / name
            try:
                found = path.lstat()
            except OSError:
                continue  # somebody else removed it
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                yield path, found.st_size
