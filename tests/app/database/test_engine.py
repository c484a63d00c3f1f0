"""The database layer: traps 1 to 3 of a shared SQLite file, and writers that take turns."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, bindparam, column, delete, event, func, select, table, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import Db, InstantReads, WriteDb, WriterTurns, make_engine, read_session, wal_is_safe, write_session
from app.database.prepared import Prepared
from app.errors import Busy
from app.models import Base, Prompt, User
from app.settings import Settings
from app.web.error_replies import add_handlers


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path / 'a.db'}")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def add_user(session: Session, email: str) -> None:
    session.add(User(email=email, name=email))
    session.flush()


def count_users(engine: Engine) -> int:
    with read_session(engine) as session:
        return session.scalar(select(func.count(User.id))) or 0


# Trap 1: the library


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),  # this machine's standard library
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
        ((3, 6, 23), True),
    ],
)
def test_the_wal_reset_race_is_known_by_version(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_our_library_is_a_safe_one(engine: Engine) -> None:
    with engine.connect() as connection:
        version = connection.execute(text("SELECT sqlite_version()")).scalar_one()
    assert wal_is_safe(tuple(int(part) for part in version.split(".")))


def test_an_unsafe_library_gets_the_rollback_journal_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.database.engine.wal_is_safe", lambda version: False)
    engine = make_engine(f"sqlite:///{tmp_path / 'b.db'}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "delete"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    engine.dispose()
    assert "can corrupt" in capsys.readouterr().err


# Trap 2: pragmas and transactions


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("busy_timeout", 5000),
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
    ],
)
def test_every_connection_has_its_pragmas(engine: Engine, pragma: str, value: object) -> None:
    with engine.connect() as first, engine.connect() as second:
        assert first.execute(text(f"PRAGMA {pragma}")).scalar_one() == value
        assert second.execute(text(f"PRAGMA {pragma}")).scalar_one() == value


def test_the_busy_timeout_is_back_after_a_writer_began(engine: Engine) -> None:
    with write_session(engine) as session:
        assert session.scalar(text("PRAGMA busy_timeout")) == 5000


def test_writers_begin_immediate_and_readers_do_not(engine: Engine) -> None:
    begun = []
    event.listen(engine, "before_cursor_execute", lambda *given: begun.append(given[2]))
    with write_session(engine) as session:
        session.scalar(select(User.id))  # not a write: the transaction itself must hold the writer's place
        other = make_engine(str(engine.url))
        with other.connect() as outside:
            cursor = outside.connection.cursor()
            cursor.execute("PRAGMA busy_timeout=0")
            with pytest.raises(Exception, match="locked"):
                cursor.execute("BEGIN IMMEDIATE")
        other.dispose()
    with read_session(engine) as session:
        session.scalar(select(User.id))
    assert "BEGIN" in begun


def test_a_reader_sees_the_state_of_its_beginning_while_a_writer_writes(engine: Engine) -> None:
    with read_session(engine) as reading:
        assert reading.scalar(select(func.count(User.id))) == 0
        with write_session(engine) as writing:
            add_user(writing, "ada@example.org")
        assert reading.scalar(select(func.count(User.id))) == 0
    assert count_users(engine) == 1


def test_two_processes_worth_of_writers_lose_nothing(engine: Engine) -> None:
    """A second engine shares no turns with the first, as the worker's does not."""
    other = make_engine(str(engine.url))

    def write(through: Engine, name: str) -> None:
        for number in range(25):
            with write_session(through) as session:
                add_user(session, f"{name}{number}@example.org")

    threads = [
        threading.Thread(target=write, args=(through, name)) for through, name in [(engine, "a"), (other, "b"), (engine, "c")]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.dispose()
    assert count_users(engine) == 75


def test_rows_others_point_to_cannot_be_deleted(engine: Engine) -> None:
    with write_session(engine) as session:
        add_user(session, "ada@example.org")
        session.execute(
            text(
                "INSERT INTO sessions (id_hash, user_id, created_at, last_seen_at, expires_at, user_agent) "
                "VALUES ('x', 1, '2026-01-01', '2026-01-01', '2027-01-01', '')"
            )
        )
    with pytest.raises(Exception, match="FOREIGN KEY"), write_session(engine) as session:
        session.execute(delete(User))
    assert count_users(engine) == 1


def test_an_exception_undoes_the_whole_transaction(engine: Engine) -> None:
    def fail() -> None:
        with write_session(engine) as session:
            add_user(session, "ada@example.org")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    assert count_users(engine) == 0


def test_a_single_read_sees_every_commit_and_survives_failures(engine: Engine) -> None:
    by_email = Prepared(select(User.name).where(User.email == bindparam("email")))
    reads = InstantReads(engine)
    assert reads.row(by_email, {"email": "a@example.org"}) is None

    for name in ("Ada", "Grace"):  # by another connection, while the kept one stays open
        with write_session(engine) as session:
            session.execute(delete(User))
            session.add(User(email="a@example.org", name=name))
        assert reads.row(by_email, {"email": "a@example.org"}) == (name,)

    with pytest.raises(OperationalError, match="no such table"):
        reads.row(Prepared(select(table("nowhere", column("name")))), {})
    assert reads.row(by_email, {"email": "a@example.org"}) == ("Grace",)
    assert reads._kept is not None
    reads._kept.connection.dbapi_connection.close()  # type: ignore[union-attr]
    with pytest.raises(ProgrammingError, match="closed"):
        reads.row(by_email, {"email": "a@example.org"})
    assert reads.row(by_email, {"email": "a@example.org"}) == ("Grace",)
    reads.close()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_read_session_refuses_to_write(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="only reads"), read_session(engine) as session:
        session.add(User(email="ada@example.org", name="Ada"))
    with pytest.raises(RuntimeError, match="only reads"), read_session(engine) as session:
        session.execute(delete(User))


# Trap 3: the reply comes after the commit


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> TestClient:
    app = FastAPI()
    app.state.engine = engine
    app.state.settings = Settings(data=tmp_path)
    add_handlers(app)

    @app.post("/api/user")
    def make(session: WriteDb) -> dict[str, int]:
        add_user(session, "ada@example.org")
        return {"made": 1}

    @app.post("/api/doomed")
    def doomed(session: WriteDb) -> dict[str, int]:
        """Fails when the transaction commits, not before: the reference is checked at the end."""
        session.execute(text("PRAGMA defer_foreign_keys=ON"))
        session.add(Prompt(project_id=999, messages=[], digest="d", split="train"))
        session.flush()
        return {"made": 1}

    @app.get("/api/users")
    def look(session: Db) -> dict[str, int]:
        return {"users": session.scalar(select(func.count(User.id))) or 0}

    @app.post("/api/mistaken")
    def mistaken(session: Db) -> dict[str, int]:
        session.add(User(email="x", name="x"))
        return {}

    @app.post("/api/thread")
    def thread() -> dict[str, int]:
        with write_session(engine) as session:
            add_user(session, "x")
        return {}

    return TestClient(app, raise_server_exceptions=False)


def test_a_failed_commit_is_not_answered_as_done(client: TestClient, engine: Engine) -> None:
    assert client.post("/api/doomed").status_code == 409
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Prompt.id))) == 0


def test_a_row_is_committed_when_its_reply_arrives(client: TestClient, engine: Engine) -> None:
    assert client.post("/api/user").status_code == 200
    assert count_users(engine) == 1
    assert client.get("/api/users").json() == {"users": 1}


def test_a_route_that_writes_through_a_reading_session_fails_loudly(client: TestClient) -> None:
    assert client.post("/api/mistaken").status_code == 500


def test_write_session_is_refused_in_the_threads_that_serve_requests(client: TestClient, engine: Engine) -> None:
    assert client.post("/api/thread").status_code == 500
    assert count_users(engine) == 0


@pytest.fixture
def kept_by_another_process(tmp_path: Path, engine: Engine) -> Iterator[None]:
    """Another process is in the middle of a write, and stays there."""
    code = (
        "import sys, time; from pysqlite3 import dbapi2 as sqlite; c = sqlite.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE'); print('begun', flush=True); time.sleep(120)"
    )
    command = [sys.executable, "-c", code, str(engine.url.database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield
        process.kill()


@pytest.mark.usefixtures("kept_by_another_process")
def test_nobody_waits_longer_than_its_patience_for_a_writer_of_another_process(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.engine.WRITER_PATIENCE_S", 0.5)
    waited: list[float] = []

    def ask(number: int) -> tuple[int, str]:
        began = time.monotonic()
        reply = client.post("/api/user")
        waited.append(time.monotonic() - began)
        return reply.status_code, reply.json()["detail"]

    with client, ThreadPoolExecutor(8) as people:  # one event loop serves all eight, who take turns
        said = list(people.map(ask, range(8)))

    assert said == [(503, "The database is busy. Nothing was changed; please try again.")] * 8
    assert max(waited) < 2.5  # a turn's patience each, one after the other, would be four seconds
    assert count_users(engine) == 0


# Turns


def test_turns_are_taken_first_come_first_served() -> None:
    turns = WriterTurns()
    order: list[int] = []

    def take(number: int) -> Callable[[], None]:
        def run() -> None:
            with turns.turn(10):
                order.append(number)

        return run

    with turns.turn(1):
        threads = []
        for number in range(6):
            thread = threading.Thread(target=take(number))
            thread.start()
            time.sleep(0.02)  # so that they ask in this order
            threads.append(thread)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4, 5]


def test_a_turn_that_was_not_waited_for_is_passed_on() -> None:
    turns = WriterTurns()
    with turns.turn(1), pytest.raises(Busy), turns.turn(0.01):
        pass
    with turns.turn(0.5):
        pass


def test_a_coroutine_waits_no_longer_for_its_turn_than_a_thread_and_passes_it_on() -> None:
    turns = WriterTurns()

    async def ask() -> None:
        async with turns.turn_async(0.01):
            pass

    with turns.turn(1), pytest.raises(Busy):
        asyncio.run(ask())
    asyncio.run(ask())


def test_an_error_does_not_repeat_what_was_written(engine: Engine) -> None:
    with write_session(engine) as session:
        add_user(session, "marker@example.org")
    with pytest.raises(IntegrityError) as raised, write_session(engine) as session:
        add_user(session, "marker@example.org")

    told = f"{raised.value} {raised.value.orig}"
    assert "UNIQUE constraint failed" in told
    assert "marker" not in told
