"""The database: engine, SQLite pragmas, and one request = one transaction, committed before the reply.

SQLite lets one writer in at a time. Writers of this process take turns in `WriterTurns`, first come first served, so that
many annotators do not poll the busy handler and nobody waits much longer than the others. Readers never wait for writers.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from asyncio import timeout, wrap_future
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from app.database.capacity import COMMAND, Capacity
from app.database.prepared import Prepared
from app.database.same_file import SameFile
from app.errors import Busy

log = logging.getLogger("tastemaker")

POOL_PATIENCE_S = 5.0  # for a connection; there are more than can be asked for, so that waiting for one is a mistake of ours
WRITER_PATIENCE_S = 20.0  # how long a writer waits in all: for its turn, and then for a writer of another process
_WRITES: dict[str, Any] = {"tastemaker_writes": True}
_SINGLE_READS = {"tastemaker_single_reads": True}


# The engine


def make_engine(url: str, capacity: Capacity = COMMAND) -> Engine:
    """An engine for the URL. SQLite comes from the `pysqlite3` wheel, since the standard library's may be unsafe."""
    pool = {"pool_size": capacity.connections, "max_overflow": 0, "pool_timeout": POOL_PATIENCE_S}
    if not is_sqlite(url):
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, **pool)
        event.listen(engine, "handle_error", _forget_values)
        event.listen(engine, "connect", _limit_lock_waits)
        event.listen(engine, "reset", _roll_back)
        return engine
    module = sqlite_module()
    journal = "WAL" if wal_is_safe(module.sqlite_version_info) else "DELETE"
    if journal == "DELETE":
        print(
            f"SQLite {module.sqlite_version} can corrupt a write-ahead log that several connections write (fixed in 3.51.3, "
            "3.50.7 and 3.44.6): using the slower rollback journal. Installing pysqlite3 brings a safe version.",
            file=sys.stderr,
        )
    engine = create_engine(
        url,
        module=module,
        **pool,
        hide_parameters=True,  # an error's text goes to the log, and what people wrote does not
        execution_options={"tastemaker_turns": WriterTurns(), "tastemaker_instant_reads": journal == "WAL"},
    )
    event.listen(engine, "connect", partial(_set_pragmas, journal=journal))
    event.listen(engine, "begin", _begin)
    event.listen(engine, "reset", _roll_back)
    _watch_file(engine)
    return engine


def _watch_file(engine: Engine) -> None:
    if engine.url.database:
        file = SameFile(engine.url.database)
        event.listen(engine, "do_connect", file.before_connect)
        event.listen(engine, "connect", file.after_connect)
        engine.update_execution_options(tastemaker_file=file)


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def sqlite_module() -> ModuleType:
    """The one SQLite library of this process; a file must never be open through two of them."""
    from pysqlite3 import dbapi2

    module: ModuleType = dbapi2
    return module


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """False where several writing connections can corrupt a WAL database: the WAL-reset race of SQLite 3.7.0 to 3.51.2."""
    fixed_lines = {(3, 44): 6, (3, 50): 7}
    patch = fixed_lines.get((version[0], version[1]))
    if patch is not None:
        return version[2] >= patch
    return version < (3, 7, 0) or version >= (3, 51, 3)


def reads_are_instant(engine: Engine) -> bool:
    """True where a read by key waits for nobody: SQLite with a write-ahead log.

    Such a read takes a tenth of a millisecond, a fifth of what handing it to a worker thread and back costs under load.
    """
    return bool(engine.get_execution_options().get("tastemaker_instant_reads"))


class InstantReads:
    """One-row reads by key, each a transaction of its own on one kept connection; only where `reads_are_instant`.

    Every request begins with one. To take a connection from the pool, begin and roll back would cost more than the row itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._one_at_a_time = threading.Lock()  # a server asks from one thread, its event loop's, and never waits here
        self._kept: Connection | None = None

    def row(self, statement: Prepared, values: Mapping[str, Any]) -> Any:
        with self._one_at_a_time:
            if self._kept is None:
                self._kept = self._engine.connect().execution_options(**_SINGLE_READS)
            try:
                return statement.first(self._kept, values)
            except BaseException:  # whatever state it is in now, the next read begins with another
                self._drop()
                raise

    def close(self) -> None:
        """Give the connection back."""
        with self._one_at_a_time:
            self._drop()

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()


def init_db(engine: Engine) -> None:
    """Look at the database once at start, so that a wrong URL, folder or permission ends the start and not a request."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _roll_back(dbapi_connection: Any, entry: ConnectionPoolEntry, state: PoolResetState) -> None:
    """After a COMMIT that failed the transaction is still open, and the pool would hand it to the next request."""
    dbapi_connection.rollback()


def _forget_values(context: ExceptionContext) -> None:
    """PostgreSQL's own words repeat what somebody wrote: in a line of details, or behind what is wrong with a value."""
    error = context.original_exception
    told = str(error)
    plain = told.partition("\n")[0].partition(': "')[0]
    for one in (error, context.sqlalchemy_exception):
        if one is not None and plain != told:
            one.args = tuple(part.replace(told, plain) if isinstance(part, str) else part for part in one.args)


def _limit_lock_waits(dbapi_connection: Any, entry: ConnectionPoolEntry) -> None:
    """PostgreSQL would wait for a row that another writer keeps for as long as that one likes."""
    dbapi_connection.execute(f"SET lock_timeout = {round(WRITER_PATIENCE_S * 1000)}")
    dbapi_connection.commit()  # rolled back, it would be forgotten


def _set_pragmas(dbapi_connection: Any, entry: ConnectionPoolEntry, *, journal: str) -> None:
    dbapi_connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.execute(f"PRAGMA journal_mode={journal}")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may lose acknowledged commits at power loss
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA trusted_schema=OFF")
    cursor.execute("PRAGMA cell_size_check=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Readers begin plain, single reads not at all. Writers begin IMMEDIATE, as who starts to write late fails at once."""
    options = connection.get_execution_options()
    if options.get("tastemaker_single_reads"):
        return
    if not options.get("tastemaker_writes"):
        connection.exec_driver_sql("BEGIN")
        return
    if (file := options.get("tastemaker_file")) is not None:
        file.require()
    cursor = connection.connection.cursor()
    failed: type[Exception] = sqlite_module().OperationalError
    deadline = time.monotonic() + options.get("tastemaker_patience_s", WRITER_PATIENCE_S)
    # SQLite's own busy handler backs off to 100 ms and would starve beside a busy process; ours looks every millisecond or two.
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except failed as error:
                if "locked" not in str(error):
                    raise OperationalError("BEGIN IMMEDIATE", None, error) from error  # as from any other statement
                if time.monotonic() > deadline:
                    log.error("another process has kept the database for %s s", WRITER_PATIENCE_S)
                    raise Busy from error
            time.sleep(random.uniform(0.0005, 0.002))
    finally:
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.close()


# Writers take turns


class WriterTurns:
    """A first-come-first-served lock for threads and for coroutines of any event loop. SQLite only."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[Future[None]] = deque()

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        ticket = self._ask()
        if ticket is not None:
            try:
                ticket.result(timeout_s)
            except TimeoutError:
                if not ticket.cancel():  # granted in the same instant
                    self._pass_on()
                raise Busy from None
        try:
            yield
        finally:
            self._pass_on()

    @asynccontextmanager
    async def turn_async(self, timeout_s: float) -> AsyncIterator[None]:
        ticket = self._ask()
        if ticket is not None:
            try:
                async with timeout(timeout_s):
                    await wrap_future(ticket)
            except BaseException as error:
                if not ticket.cancel():
                    self._pass_on()
                if isinstance(error, TimeoutError):
                    raise Busy from None
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _ask(self) -> Future[None] | None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return None
            ticket: Future[None] = Future()
            self._waiting.append(ticket)
            return ticket

    def _pass_on(self) -> None:
        with self._guard:
            while self._waiting:
                ticket = self._waiting.popleft()
                if ticket.set_running_or_notify_cancel():
                    ticket.set_result(None)
                    return
            self._taken = False


def _turns(engine: Engine) -> WriterTurns | None:
    turns: WriterTurns | None = engine.get_execution_options().get("tastemaker_turns")
    return turns


# Sessions


class ReadSession(Session):
    """A session that refuses to write, because its transaction is rolled back and its work would be lost in silence."""

    def flush(self, objects: Any = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise RuntimeError("this session only reads: use WriteDb or write_session")
        super().flush(objects)


@event.listens_for(ReadSession, "do_orm_execute")
def _refuse_writes(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        raise RuntimeError("this session only reads: use WriteDb or write_session")


@contextmanager
def read_session(engine: Engine) -> Iterator[Session]:
    """A session for reading, outside requests or beside a request's own."""
    with ReadSession(engine) as session:
        yield session
        session.flush()


@contextmanager
def write_session(engine: Engine) -> Iterator[Session]:
    """A transaction outside requests: committed at the end, rolled back on an exception.

    Refused in the threads that serve requests. There it would hold a thread while waiting for the turn of a request that
    itself waits for a thread.
    """
    if threading.current_thread().name.startswith("AnyIO worker"):
        raise RuntimeError("write_session inside a request: use WriteDb")
    turns = _turns(engine)
    if turns is None:
        with _writing(engine) as session:
            yield session
            session.commit()
        return
    asked = time.monotonic()
    with turns.turn(WRITER_PATIENCE_S), _writing(engine, _patience_left(asked)) as session:
        yield session
        session.commit()


def _writing(engine: Engine, patience_s: float | None = None) -> Session:
    """`patience_s`: how long a writer of another process is waited for; by default as long as for a turn."""
    patience = {} if patience_s is None else {"tastemaker_patience_s": patience_s}
    return Session(engine.execution_options(**_WRITES, **patience))


def _patience_left(asked: float) -> float:
    """What waiting for the turn since `asked` (monotonic) has left: so that nobody waits twice as long."""
    return asked + WRITER_PATIENCE_S - time.monotonic()


# Sessions of a request


def get_engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _read_db(request: Request) -> AsyncIterator[Session]:
    engine = get_engine(request)
    session = ReadSession(engine)
    try:
        yield session
        session.flush()
    finally:
        if reads_are_instant(engine):
            session.close()
        else:
            await to_thread.run_sync(session.close, limiter=_own_thread())


async def _write_db(request: Request) -> AsyncIterator[Session]:
    """What the gate saw may be so no longer: what it demands of the transaction (`state.demand`) is looked at as that begins."""
    demand: Callable[[Connection], None] | None = getattr(request.state, "demand", None)
    async with write_turn(get_engine(request)) as session:
        if demand is not None:
            event.listen(session, "after_begin", lambda _session, _transaction, connection: demand(connection), once=True)
        yield session


@asynccontextmanager
async def write_turn(engine: Engine) -> AsyncIterator[Session]:
    """`WriteDb` for part of a request, where a slow computation comes before the writing.

    Waits for the turn without holding a thread, and raises Busy when its patience ends; commits when the block ends well.
    Statements belong into worker threads, or behind `begun` where they are few and short.
    """
    turns = _turns(engine)
    if turns is None:
        async with _committing(engine) as session:
            yield session
        return
    asked = time.monotonic()
    async with turns.turn_async(WRITER_PATIENCE_S), _committing(engine, _patience_left(asked)) as session:
        yield session


@asynccontextmanager
async def _committing(engine: Engine, patience_s: float | None = None) -> AsyncIterator[Session]:
    session = _writing(engine, patience_s)
    try:
        yield session
        await to_thread.run_sync(session.commit, limiter=_own_thread())
    finally:
        await to_thread.run_sync(session.close, limiter=_own_thread())


async def begun(session: Session) -> Connection:
    """The session's connection in its transaction, begun in a thread: it may have to wait for a writer of another process."""
    return await to_thread.run_sync(session.connection, limiter=_own_thread())


def _own_thread() -> CapacityLimiter:
    """Beginning and ending a transaction never queue behind requests that wait for it to end."""
    return CapacityLimiter(1)


Db = Annotated[Session, Depends(_read_db, scope="function")]  # the default scope would end after the reply
WriteDb = Annotated[Session, Depends(_write_db, scope="function")]
