"""The installation that benches work on."""

from __future__ import annotations

from pathlib import Path

from bench.installation import Installation


def test_a_new_one_puts_nothing_of_its_own_into_the_data_folder(tmp_path: Path) -> None:
    """A start refuses a folder that holds what is none of its own, as a bench found that wrote its log there."""
    house = Installation(tmp_path / "data", tmp_path)
    house.stop()
    assert list((tmp_path / "data").iterdir()) == []
    assert house.log.exists()
