"""Which labels a run learned from: their numbers, sorted, eight bytes each, so that one is found without reading the others.

Written beside the frozen labels. Folders from before it was have the labels alone, which are read instead, once.
"""

from __future__ import annotations

import json
import mmap
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

FILE: Final = "label_ids.bin"
LABEL_FILES: Final = ("preferences.jsonl", "ratings.jsonl")  # what people judged, as a run reads it
RANKINGS: Final = "rankings.jsonl"  # beside them, where somebody ranked
DEMONSTRATIONS: Final = "rewrites.jsonl"  # what people wrote instead
_WIDE: Final = "q"  # eight bytes, the lowest first


class LabelIndex:
    """The numbers of some labels."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids  # sorted, each once

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, label_id: object) -> bool:
        if not isinstance(label_id, int):
            return False
        at = bisect_left(self._ids, label_id)
        return at < len(self._ids) and self._ids[at] == label_id

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def count(self, label_ids: Set[int]) -> int:
        """How many of these are among them: few are looked up one by one, of many it is the other way round."""
        if len(label_ids) * len(self).bit_length() < len(self):
            return sum(label_id in self for label_id in label_ids)
        return sum(map(label_ids.__contains__, self))


def label_files(folder: Path) -> tuple[str, ...]:
    """The files of what people judged in a run's folder; those from before there were rankings keep their digest."""
    return (*LABEL_FILES, RANKINGS) if (folder / RANKINGS).is_file() else LABEL_FILES


def noted(rows: Iterable[dict[str, Any]], ids: set[int]) -> Iterator[dict[str, Any]]:
    """The same rows of labels; their numbers are added to `ids` as they pass."""
    for row in rows:
        ids.add(row["label_id"])
        yield row


def write(folder: Path, label_ids: Iterable[int]) -> None:
    """Write the index of the labels that are frozen in a run's folder."""
    ids = array(_WIDE, sorted(label_ids))
    if sys.byteorder == "big":
        ids.byteswap()
    with (folder / FILE).open("wb") as file:
        ids.tofile(file)


def add(folder: Path, label_ids: Iterable[int]) -> None:
    """Further labels that the run learns from, beside those that lie in its folder already."""
    write(folder, {*labels_of(folder), *label_ids})


def labels_of(folder: Path) -> LabelIndex:
    """The labels that a run learned from, as it froze them; none where there is no such run on this machine."""
    try:
        with (folder / FILE).open("rb") as file:
            return LabelIndex(_mapped(file.fileno()))
    except FileNotFoundError:
        stamps = tuple(path.stat().st_mtime_ns for path in _frozen(folder))
        return _read_once(folder, stamps) if stamps else LabelIndex(())


def _mapped(descriptor: int) -> Sequence[int]:
    """The numbers as they lie on the disk; only what is looked at is read."""
    try:
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:  # no label, no byte
        return ()
    if sys.byteorder == "little":
        return memoryview(mapped).cast(_WIDE)
    ids = array(_WIDE, bytes(mapped))
    ids.byteswap()
    return ids


@lru_cache(maxsize=32)
def _read_once(folder: Path, stamps: tuple[int, ...]) -> LabelIndex:
    """A run's files do not change once they are frozen; `stamps` tell a folder made anew."""
    return LabelIndex(array(_WIDE, sorted(_read(folder))))


def _read(folder: Path) -> set[int]:
    return {row["label_id"] for path in _frozen(folder) for row in _rows(path) if isinstance(row.get("label_id"), int)}


def _frozen(folder: Path) -> list[Path]:
    return [path for name in (*LABEL_FILES, RANKINGS, DEMONSTRATIONS) if (path := folder / name).is_file()]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            if isinstance(row, dict):
                yield row
