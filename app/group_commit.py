"""Many small writes, one commit.

SQLite lets one writer in at a time, and each commit waits for the disk. Verdicts and claims of many people therefore share
a transaction: whatever waits when the writer's turn comes is run in one, each job in its own savepoint, and every reply is
sent after the commit that holds its job. On other databases each job has a transaction of its own.
"""

from __future__ import annotations

import threading
from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from sqlalchemy import Connection, Engine

from app.db import write_session

Result = TypeVar("Result")
Job = Callable[[Connection], Any]

LARGEST_GROUP: Final = 64  # jobs of one transaction
WRITERS: Final = 16  # threads where the database lets writers work side by side


class WriteGroup:
    """The waiting writes of one engine."""

    def __init__(self, engine: Engine) -> None:
        one_writer = engine.dialect.name == "sqlite"
        self._engine = engine
        self._largest = LARGEST_GROUP if one_writer else 1
        self._threads = ThreadPoolExecutor(1 if one_writer else WRITERS, thread_name_prefix="writes")
        self._guard = threading.Lock()
        self._waiting: list[tuple[Job, Future[Any]]] = []

    async def run(self, job: Callable[[Connection], Result]) -> Result:
        """The job's result, once it is committed. What the job raises undoes the job alone and is raised here."""
        outcome: Future[Result] = Future()
        context = copy_context()  # its refusal speaks the reader's language
        with self._guard:
            self._waiting.append((lambda connection: context.run(job, connection), outcome))
        self._threads.submit(self._commit_group)  # one for each job, so that none is left waiting
        return await wrap_future(outcome)

    def _commit_group(self) -> None:
        with self._guard:
            group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
        group = [(job, outcome) for job, outcome in group if outcome.set_running_or_notify_cancel()]
        if not group:
            return
        try:
            with write_session(self._engine) as session:
                results = [_run(session.connection(), job, alone=len(group) == 1) for job, _ in group]
        except Exception as error:  # the transaction itself failed: nobody's job is stored
            for _, outcome in group:
                outcome.set_exception(error)
            return
        for (_, outcome), (result, refusal) in zip(group, results, strict=True):
            if refusal is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(refusal)


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


def write_group(request: Request) -> WriteGroup:
    group: WriteGroup = request.app.state.write_group
    return group


async def _write_group(request: Request) -> WriteGroup:
    return write_group(request)


Writes = Annotated[WriteGroup, Depends(_write_group)]
