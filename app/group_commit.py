"""Many small writes, one commit.

SQLite lets one writer in at a time, and each commit waits for the disk. Verdicts and claims of many people therefore share
a transaction: whatever waits when the writer's turn comes is run in one, each job in its own savepoint, and every reply is
sent after the commit that holds its job. On other databases each job has a transaction of its own.

The jobs run on the event loop itself. One takes some hundred microseconds, less than two threads lose by taking Python from
each other; what may wait for the disk or for a writer of another process, BEGIN and COMMIT, is left to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from fastapi import Depends, Request
from sqlalchemy import Connection, Engine

from app.db import begin, write_session, write_turn

Result = TypeVar("Result")
Job = Callable[[Connection], Any]
Waiting = list[tuple[Job, asyncio.Future[Any]]]  # and who waits for the outcome

LARGEST_GROUP: Final = 64  # jobs of one transaction
WRITERS: Final = 16  # threads where the database lets writers work side by side


class WriteGroup:
    """The waiting writes of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._one_writer = engine.dialect.name == "sqlite"
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="writes")
        self._groups: WeakKeyDictionary[asyncio.AbstractEventLoop, _Group] = WeakKeyDictionary()  # a server has one loop

    async def run(self, job: Callable[[Connection], Result]) -> Result:
        """The job's result, once it is committed. What the job raises undoes the job alone and is raised here."""
        context = copy_context()  # its refusal speaks the reader's language
        loop = asyncio.get_running_loop()
        if not self._one_writer:
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
        self._waiting: Waiting = []
        self._running: asyncio.Task[None] | None = None

    async def run(self, job: Callable[[Connection], Result]) -> Result:
        waiting: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, waiting))
        if self._running is None:
            self._running = asyncio.create_task(self._commit_all())
        return await waiting

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                await self._commit()
        finally:
            self._running = None

    async def _commit(self) -> None:
        group: Waiting = []
        try:
            async with write_turn(self._engine) as session:
                connection = await begin(session)
                group = self._take()  # not before: whoever came while it waited shares the commit
                outcomes = [_run(connection, job, alone=len(group) == 1) for job, _ in group]
        except Exception as error:  # the transaction itself failed: nobody's job is stored
            for _, waiting in group or self._take():
                _tell(waiting, None, error)
            return
        for (_, waiting), (result, refusal) in zip(group, outcomes, strict=True):
            _tell(waiting, result, refusal)

    def _take(self) -> Waiting:
        group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
        return [(job, waiting) for job, waiting in group if not waiting.done()]  # done: whoever asked has left


def _run(connection: Connection, job: Job, *, alone: bool) -> tuple[Any, Exception | None]:
    if alone:
        return job(connection), None  # an exception rolls the transaction back, which holds nothing else
    cursor = connection.connection.cursor()
    cursor.execute("SAVEPOINT job")
    try:
        return job(connection), None
    except Exception as error:
        cursor.execute("ROLLBACK TO job")
        return None, error
    finally:
        cursor.execute("RELEASE job")
        cursor.close()


def _tell(waiting: asyncio.Future[Any], result: Any, refusal: Exception | None) -> None:
    if waiting.done():
        return
    if refusal is None:
        waiting.set_result(result)
    else:
        waiting.set_exception(refusal)


def write_group(request: Request) -> WriteGroup:
    group: WriteGroup = request.app.state.write_group
    return group


async def _write_group(request: Request) -> WriteGroup:
    return write_group(request)


Writes = Annotated[WriteGroup, Depends(_write_group)]
