"""coverage.json, written and read."""

from __future__ import annotations

from pathlib import Path

from trainer.contract.coverage.clusters import Cluster, Coverage, read, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    coverage = Coverage((Cluster((4, 1), ("天空", "sky")), Cluster((2,))), 6, 32, {4: 0.25, 5: 0.125})
    assert read(tmp_path) is None
    write(tmp_path, coverage)
    assert read(tmp_path) == coverage
