"""Writing in slices: how large they are, and that others write in between."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Engine

from app.database import slices
from app.database.engine import write_session
from app.database.slices import Slices
from app.models import User


def test_every_row_comes_once_and_slices_follow_what_the_last_ones_took(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "FIRST", 40)
    cut = Slices(engine)
    rows = list(range(1000))
    seen: list[int] = []
    sizes: list[int] = []
    for some in cut.of(rows):
        seen += some
        sizes.append(len(some))
        monkeypatch.setattr(slices, "LOCK_S", 1000.0 if len(sizes) < 3 else 1e-9)  # so that it was fast, then slow
        with cut.write():
            pass
    assert seen == rows
    assert sizes[:4] == [40, 80, 160, slices.LEAST], "at most twice as many, and never none"


def test_a_verdict_waits_for_one_slice_and_not_for_all(engine: Engine) -> None:
    waited: list[float] = []
    done = threading.Event()

    def judge() -> None:
        while not done.is_set():
            began = time.monotonic()
            with write_session(engine) as session:
                session.add(User(email=f"{began}@example.org", name="Verdict"))
            waited.append(time.monotonic() - began)

    judging = threading.Thread(target=judge)
    judging.start()
    began, cut = time.monotonic(), Slices(engine)
    for number in range(30):
        with cut.write() as session:
            session.add(User(email=f"{number}@example.net", name="Row"))
            session.flush()
            time.sleep(slices.LOCK_S)
    took_s = time.monotonic() - began
    done.set()
    judging.join()
    assert len(waited) > 30
    assert max(waited) < took_s / 4
