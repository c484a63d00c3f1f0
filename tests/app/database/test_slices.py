"""Writing in slices: how large they are, and that others write in between."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from functools import partial

import pytest
from sqlalchemy import Engine

from app.database import slices
from app.database.engine import write_session
from app.database.slices import Slices, beside_requests, giving_way
from app.errors import Unavailable
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


def test_whoever_computes_leaves_python_to_others_after_each_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = [time.thread_time()]

    def leave(seconds: float) -> None:
        assert seconds > 0, "one of no length is often over before another thread is awake"
        left.append(time.thread_time())

    monkeypatch.setattr(time, "sleep", leave)
    assert list(giving_way(range(2000))) == list(range(2000))
    for _ in giving_way(range(2000)):
        sum(range(2000))
    left.append(time.thread_time())
    computed = [later - earlier for earlier, later in itertools.pairwise(left)]
    assert sum(computed) > 0.02
    assert max(computed) < 0.004, "Python takes itself from a thread after 5 ms, and a verdict asks for it a dozen times"


def test_a_third_long_deed_is_told_to_come_back_and_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "PATIENCE_S", 0.2)
    may_end = threading.Event()
    done: list[str] = []

    def deed(name: str, lasts: bool = True) -> str:
        if lasts:
            assert may_end.wait(10)
        done.append(name)
        return name

    async def crowd() -> str:
        first = [asyncio.create_task(beside_requests(partial(deed, name))) for name in ("one", "two")]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="Nothing of what you asked for was done"):
            await beside_requests(partial(deed, "three", lasts=False))
        assert 0.1 < time.monotonic() - began < 2
        left = asyncio.create_task(beside_requests(partial(deed, "of one who left", lasts=False)))
        await asyncio.sleep(0.05)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        may_end.set()
        assert await asyncio.gather(*first) == ["one", "two"]
        return await beside_requests(partial(deed, "four"))

    assert asyncio.run(crowd()) == "four"
    assert sorted(done) == ["four", "one", "two"]


def test_a_long_deed_is_waited_for_as_long_as_it_takes_and_fails_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "PATIENCE_S", 0.05)

    def deed(*, fails: bool) -> str:
        time.sleep(0.3)
        if fails:
            raise TimeoutError("its own")
        return "done"

    assert asyncio.run(beside_requests(partial(deed, fails=False))) == "done"
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(beside_requests(partial(deed, fails=True)))
