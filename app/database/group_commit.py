"""Many small writes, one commit.

SQLite lets one writer in at a time, and each commit waits for the disk. Verdicts and claims of many people therefore share
a transaction: whatever waits when the writer's turn comes is run in one, each job in its own savepoint, and every reply is
sent after the commit that holds its job. Elsewhere (PostgreSQL, or SQLite without a write-ahead log) each job has a
transaction of its own.

The jobs run on the event loop itself. Most take some hundred microseconds, less than two threads lose by taking Python from
each other; what may wait for the disk or for a writer of another process, BEGIN and COMMIT, is left to a thread. Between two
groups the loop attends to others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from fastapi import Depends, Request
from sqlalchemy import Connection, Engine

from app.database.capacity import COMMAND
from app.database.engine import begun, reads_are_instant, write_session, write_turn

Result = TypeVar("Result")
Job = Callable[[Connection], Any]

LONGEST_GROUP_S: Final = 0.02  # no job of a group begins later than this after the first


class WriteGroup:
    """The waiting writes of one engine."""

    def __init__(self, engine: Engine, threads: int = COMMAND.threads) -> None:
        """`threads`: where jobs do not share."""
        self._engine = engine
        self._shares = reads_are_instant(engine)  # without a write-ahead log a statement in the middle may have to wait, too
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="writes")
        self._groups: WeakKeyDictionary[asyncio.AbstractEventLoop, _Group] = WeakKeyDictionary()  # a server has one loop

    async def run(self, job: Callable[[Connection], Result]) -> Result:
        """The job's result, once it is committed. What the job raises undoes the job alone and is raised here."""
        context = copy_context()  # its refusal speaks the reader's language
        loop = asyncio.get_running_loop()
        if not self._shares:
            return await loop.run_in_executor(self._threads, context.run, self._alone, job)
        group = self._groups.get(loop)
        if group is None:
            group = self._groups[loop] = _Group(self._engine)
        return await group.run(lambda connection: context.run(job, connection))

    def _alone(self, job: Callable[[Connection], Result]) -> Result:
        with write_session(self._engine) as session:
            return job(session.connection())


class _Group:
    """The waiting writes of one event loop, and the task that runs them as long as there are any."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Write] = deque()
        self._running: asyncio.Task[None] | None = None

    async def run(self, job: Callable[[Connection], Result]) -> Result:
        told: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(job, told))
        if self._running is None:
            self._running = asyncio.create_task(self._commit_all())
        return await told

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                await self._commit()
        finally:
            self._running = None

    async def _commit(self) -> None:
        group: list[_Write] = []
        began = False
        try:
            async with write_turn(self._engine) as session:
                connection = await begun(session)
                began = True
                end = time.monotonic() + LONGEST_GROUP_S
                while self._waiting and time.monotonic() < end:  # whoever came while it waited shares the commit
                    group.append(self._waiting.popleft())
                    group[-1].run(connection)
        except Exception as error:  # the transaction itself failed: nobody's job is stored
            if not began:
                group = [*self._waiting]
                self._waiting.clear()
            for write in group:
                write.tell(error)
            return
        for write in group:
            write.tell()


class _Write:
    """A job, its outcome, and the future that whoever asked waits for."""

    def __init__(self, job: Job, told: asyncio.Future[Any]) -> None:
        self._job = job
        self._told = told
        self._result: Any = None
        self._refusal: Exception | None = None

    def run(self, connection: Connection) -> None:
        if self._told.done():  # whoever asked has left
            return
        cursor = connection.connection.cursor()
        cursor.execute("SAVEPOINT job")
        try:
            self._result = self._job(connection)
        except Exception as error:
            if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                raise  # SQLite undid everything by itself, as on a full disk: the group has failed with it
            self._refusal = error
            cursor.execute("ROLLBACK TO job")
        cursor.execute("RELEASE job")
        cursor.close()

    def tell(self, failure: Exception | None = None) -> None:
        error = failure or self._refusal
        if self._told.done():
            return
        if error is None:
            self._told.set_result(self._result)
        else:
            self._told.set_exception(error)


def write_group(request: Request) -> WriteGroup:
    group: WriteGroup = request.app.state.write_group
    return group


async def _write_group(request: Request) -> WriteGroup:
    return write_group(request)


Writes = Annotated[WriteGroup, Depends(_write_group)]
