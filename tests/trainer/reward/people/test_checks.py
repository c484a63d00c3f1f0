from __future__ import annotations

from pathlib import Path

import pytest

from trainer.contract.folder import Refused
from trainer.reward.people.checks import Checks, read_checks

ROW = '{"annotator": "annotator-1", "asked_again": 5, "same": 4, "known": 3, "right": %s}\n'


def test_what_came_of_checks_is_read_by_person(tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text(ROW % 2)

    assert read_checks(tmp_path) == {"annotator-1": Checks(asked_again=5, same=4, known=3, right=2)}


def test_a_run_of_before_has_none(tmp_path: Path) -> None:
    assert read_checks(tmp_path) == {}


@pytest.mark.parametrize("right", ["4", '"many"', "-1"])
def test_what_cannot_be_is_refused_with_its_row(tmp_path: Path, right: str) -> None:
    (tmp_path / "people.jsonl").write_text(ROW % 2 + ROW % right)

    with pytest.raises(Refused, match=r"people\.jsonl, row 2"):
        read_checks(tmp_path)
