"""`bench/leaderboard.py` with few verdicts: they are all counted, and the stronger contender stands higher."""

from __future__ import annotations

from pathlib import Path

from app.database.engine import make_engine, read_session
from app.evaluation.leaderboard.service import leaderboard
from app.models import Project
from bench.leaderboard import ADDRESSES, CONTENDERS, make, measure
from bench.stage import sqlite_in


def test_what_is_made_is_counted_and_shown(tmp_path: Path) -> None:
    make(tmp_path, 6_000)
    found = measure(tmp_path)
    assert (found["verdicts"], found["left"]) == (6_000, 0)
    assert all(found[name] > 0 for name in ADDRESSES)
    engine = make_engine(sqlite_in(tmp_path))
    with read_session(engine) as session:
        board = leaderboard(session, session.get_one(Project, 1))
    engine.dispose()
    assert len(board.rows) == CONTENDERS
    assert board.rows[0].standing.rate > 0.55
    assert board.rows[-1].base
