"""Labels of a run are found by their numbers, in an index or, in folders from before there was one, in the labels themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from app.runs.lineage import label_index
from app.runs.lineage.label_index import labels_of


def freeze(folder: Path, name: str, ids: Iterable[int]) -> None:
    rows = ({"label_id": number, "text": "x" * number} for number in ids)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_one_label_is_found_among_many(tmp_path: Path) -> None:
    label_index.write(tmp_path, [9, 4, 2**40, 700])
    found = labels_of(tmp_path)
    assert list(found) == [4, 9, 700, 2**40]
    among = [number for number in (3, 4, 5, 9, 700, 701, 2**40, 2**40 + 1) if number in found]
    assert among == [4, 9, 700, 2**40]
    assert "4" not in found
    assert found.count({4, 5, 9, 10}) == 2
    assert (tmp_path / label_index.FILE).stat().st_size == 8 * len(found)


def test_no_label_and_no_folder_hold_none(tmp_path: Path) -> None:
    label_index.write(tmp_path, [])
    assert len(labels_of(tmp_path)) == 0
    assert 1 not in labels_of(tmp_path)
    assert len(labels_of(tmp_path / "gone")) == 0


def test_a_folder_from_before_is_read_through_and_again_where_it_was_made_anew(tmp_path: Path) -> None:
    freeze(tmp_path, "preferences.jsonl", [3, 1, 3])
    freeze(tmp_path, "ratings.jsonl", [2])
    freeze(tmp_path, "rewrites.jsonl", [8])
    assert list(labels_of(tmp_path)) == [1, 2, 3, 8]
    (tmp_path / "rewrites.jsonl").unlink()
    assert list(labels_of(tmp_path)) == [1, 2, 3]


def test_demonstrations_come_beside_what_was_judged(tmp_path: Path) -> None:
    ids: set[int] = set()
    assert [row["label_id"] for row in label_index.noted(({"label_id": number} for number in (5, 6)), ids)] == [5, 6]
    label_index.write(tmp_path, ids)
    label_index.add(tmp_path, [6, 7])
    assert list(labels_of(tmp_path)) == [5, 6, 7]
