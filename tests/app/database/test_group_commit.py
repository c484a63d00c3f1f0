"""Writes that share a commit: each succeeds or fails alone, and none is answered before it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, bindparam, event, func, insert, select, update
from sqlalchemy.exc import OperationalError

from app.database import engine as db
from app.database import group_commit
from app.database.engine import make_engine, read_session, write_session
from app.database.group_commit import WriteGroup
from app.database.prepared import Prepared
from app.errors import Busy, Conflict
from app.models import Base, User
from tests.app.conftest import another_process_writes

Result = TypeVar("Result")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_engine(f"sqlite:///{tmp_path / 'group.db'}")
    Base.metadata.create_all(engine)
    return engine


def add(name: str, *, then_fail: bool = False) -> Callable[[Connection], str]:
    def job(connection: Connection) -> str:
        connection.execute(insert(User).values(email=name, name=name, is_owner=False))
        if then_fail:
            raise Conflict("no")
        return name

    return job


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """In a thread of its own: this one may hold the event loop of a browser that an earlier test drove."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def names(engine: Engine) -> set[str]:
    with read_session(engine) as session:
        return set(session.scalars(select(User.name)))


@pytest.fixture
def one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits together is in one group, however slow the machine."""
    monkeypatch.setattr(group_commit, "LONGEST_GROUP_S", 60.0)


def test_every_job_gets_its_own_result_and_a_failed_one_undoes_only_itself(engine: Engine) -> None:
    writes = WriteGroup(engine)

    async def go() -> list[str | BaseException]:
        jobs = [writes.run(add(str(number), then_fail=number % 5 == 0)) for number in range(200)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    results = run(go())

    good = {str(number) for number in range(200) if number % 5}
    assert {result for result in results if isinstance(result, str)} == good
    assert sum(isinstance(result, Conflict) for result in results) == 40
    assert names(engine) == good


@pytest.mark.usefixtures("one_group")
def test_jobs_that_wait_together_share_a_transaction(engine: Engine) -> None:
    commits = 0

    def count(connection: Connection) -> None:
        nonlocal commits
        commits += 1

    writes = WriteGroup(engine)
    event.listen(engine, "commit", count)

    async def go() -> None:
        await asyncio.gather(*(writes.run(add(str(number))) for number in range(100)))

    run(go())
    assert len(names(engine)) == 100
    assert commits < 20


def test_a_result_is_there_only_once_it_is_stored(engine: Engine) -> None:
    writes = WriteGroup(engine)

    async def go() -> None:
        for number in range(20):
            name = await writes.run(add(str(number)))
            assert name in names(engine)

    run(go())


@pytest.mark.usefixtures("one_group")
def test_when_the_transaction_fails_every_job_hears_of_it(engine: Engine) -> None:
    writes = WriteGroup(engine)

    def spoil(connection: Connection) -> None:
        connection.connection.cursor().execute("ROLLBACK")

    async def go() -> list[str | BaseException | None]:
        jobs = [writes.run(add("a")), writes.run(spoil), writes.run(add("b"))]
        return await asyncio.gather(*jobs, return_exceptions=True)

    results = run(go())

    with read_session(engine) as session:
        stored = session.scalar(select(func.count()).select_from(User)) or 0
    told = sum(isinstance(result, str) for result in results)
    assert told == stored
    assert any(isinstance(result, BaseException) for result in results)


def leave_room(connection: Connection, pages: int) -> None:
    """As on a disk that is nearly full."""
    cursor = connection.connection.cursor()
    there = cursor.execute("PRAGMA page_count").fetchone()[0]
    cursor.execute(f"PRAGMA max_page_count={there + pages}")


@pytest.mark.usefixtures("one_group")
def test_a_full_disk_is_named_as_the_cause_and_stores_nothing_of_the_group(engine: Engine) -> None:
    writes = WriteGroup(engine)

    def too_much(connection: Connection) -> None:
        leave_room(connection, 2)
        connection.execute(insert(User).values(email="large", name="x" * 1_000_000, is_owner=False))

    async def go() -> list[object]:
        return list(await asyncio.gather(writes.run(add("a")), writes.run(too_much), return_exceptions=True))

    results = run(go())
    assert all(isinstance(result, OperationalError) and "full" in str(result) for result in results), results
    assert names(engine) == set()


@pytest.mark.usefixtures("one_group")
def test_a_disk_that_is_full_for_a_prepared_statement_stores_nothing_either(engine: Engine) -> None:
    """SQLite undoes all of the transaction by itself there, so that the statement asked again would be kept, alone."""
    with write_session(engine) as session:
        session.add(User(email="seat", name="free"))
    rename = Prepared(update(User).where(User.email == "seat").values(name=bindparam("to")))
    writes = WriteGroup(engine)

    def too_much(connection: Connection) -> None:
        leave_room(connection, 1)
        connection.execute(insert(User).values(email="label", name="x" * 3000, is_owner=False))
        rename.first(connection, {"to": "done" * 2000})

    async def go() -> list[object]:
        return list(await asyncio.gather(writes.run(add("a")), writes.run(too_much), return_exceptions=True))

    results = run(go())
    assert all(isinstance(result, OperationalError) and "full" in str(result) for result in results), results
    assert names(engine) == {"free"}


def test_when_the_transaction_never_begins_everyone_is_told_and_the_next_write_goes_through(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "WRITER_PATIENCE_S", 0.2)
    writes = WriteGroup(engine)

    async def go() -> list[str | BaseException]:
        return list(await asyncio.gather(writes.run(add("a")), writes.run(add("b")), return_exceptions=True))

    with another_process_writes(engine):
        assert all(isinstance(result, Busy) for result in run(go()))
    assert names(engine) == set()
    assert run(go()) == ["a", "b"]
    assert names(engine) == {"a", "b"}


def test_the_event_loop_goes_on_while_another_process_writes(engine: Engine) -> None:
    writes = WriteGroup(engine)

    async def go() -> bool:
        with another_process_writes(engine):
            waiting = asyncio.create_task(writes.run(add("a")))
            await asyncio.sleep(0.3)
            was_waiting = not waiting.done()
        assert await waiting == "a"
        return was_waiting

    assert run(go())
    assert names(engine) == {"a"}


def test_slow_jobs_leave_the_event_loop_to_others_in_between(engine: Engine) -> None:
    writes = WriteGroup(engine)
    turns_of_others: list[int] = []
    done = 0

    def slow(connection: Connection) -> None:
        nonlocal done
        time.sleep(group_commit.LONGEST_GROUP_S)
        done += 1

    async def others() -> None:
        while True:
            turns_of_others.append(done)
            await asyncio.sleep(0)

    async def go() -> None:
        looking = asyncio.create_task(others())
        await asyncio.gather(*(writes.run(slow) for _ in range(5)))
        looking.cancel()

    run(go())
    assert set(turns_of_others) >= {1, 2, 3, 4}


def test_who_leaves_before_their_turn_writes_nothing_and_holds_nobody_up(engine: Engine) -> None:
    writes = WriteGroup(engine)

    async def go() -> list[str]:
        stays, leaves = asyncio.create_task(writes.run(add("stays"))), asyncio.create_task(writes.run(add("leaves")))
        await asyncio.sleep(0)
        leaves.cancel()
        return [await stays, await writes.run(add("later"))]

    assert run(go()) == ["stays", "later"]
    assert names(engine) == {"stays", "later"}


def test_two_event_loops_take_turns(engine: Engine) -> None:
    writes = WriteGroup(engine)

    async def go(name: str) -> list[str]:
        return await asyncio.gather(*(writes.run(add(f"{name}{number}")) for number in range(50)))

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: asyncio.run(go(name)), "xy"))
    assert names(engine) == {name for names_ in results for name in names_}
    assert len(names(engine)) == 100
