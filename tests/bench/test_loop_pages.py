"""`bench/loop_pages.py` with few rounds: every page of the loop is there, and was asked for."""

from __future__ import annotations

from pathlib import Path

from bench.leaderboard import make
from bench.loop_pages import add_feedback, add_rounds, addresses, measure


def test_every_page_answers(tmp_path: Path) -> None:
    make(tmp_path, 2_000)
    add_rounds(tmp_path, 2_000, 2)
    add_feedback(tmp_path, 60)
    found = measure(tmp_path)
    assert found.keys() == addresses(tmp_path).keys()
    assert all(seconds > 0 for seconds, _cpu_s in found.values())
