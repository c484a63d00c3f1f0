"""Writing many rows in slices: each a short transaction, so that a verdict which comes meanwhile waits for one of them at most.

A deed that is cut so can end in between. Whoever uses this finds what is left by itself when it is asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Final, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.errors import Unavailable
from app.language.languages import N_

Row = TypeVar("Row")
Result = TypeVar("Result")

LOCK_S: Final = 0.03  # what a slice should take, its commit included; the next one is smaller or larger by how this one did
LEAST, FIRST, MOST = 20, 200, 2_000  # rows of a slice
ASKED_AT_ONCE: Final = 5_000  # values bound to one statement, far under the 32,766 of SQLite and the 65,535 of PostgreSQL
PAUSE_S: Final = 0.005  # at least, after each: a writer of another process looks every millisecond or two whether it may begin

WORK_S, REST_S = 0.001, 0.0001  # how long a thread computes for a deed at a stretch, and leaves Python to the others

AT_ONCE: Final = 2  # long deeds of requests; they wait for turns, not for processors
PATIENCE_S: Final = 4.0  # for one of these to end

_of_long_deeds = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="slices")
_of_short_ones = ThreadPoolExecutor(1, thread_name_prefix="one slice")


class Slices:
    """Cuts what is to be written into slices, by how long the last ones took."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rows = FIRST  # of the next slice

    def of(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """The rows, a slice at a time; each is to be written within `write`."""
        start = 0
        while start < len(rows):
            end = start + self.rows
            yield rows[start:end]
            start = end

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The transaction of one slice. Afterwards others have as long as it took."""
        with write_session(self._engine) as session:
            session.connection()  # begun: what comes now is what others wait for
            began = time.monotonic()
            yield session
        took_s = max(1e-4, time.monotonic() - began)
        self.rows = max(LEAST, min(MOST, int(self.rows * min(2.0, LOCK_S / took_s))))
        time.sleep(min(LOCK_S, max(PAUSE_S, took_s)))


def giving_way(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows; after every millisecond of work the other threads have Python.

    Whoever computes without a pause is asked for it only every 5 ms, and a verdict asks a dozen times. A sleep of no length is
    often over before another thread is awake; this one is about as long as waking one takes.
    """
    began = time.monotonic()
    for row in rows:
        if time.monotonic() - began > WORK_S:
            time.sleep(REST_S)
            began = time.monotonic()
        yield row


async def beside_requests(deed: Callable[[], Result], rows: int | None = None) -> Result:
    """Do what writes in slices for a request, in none of the threads that serve the others.

    `rows`: how many there are, where that is known. What fits into one slice has a thread of its own, and waits for no long deed.

    Two at a time: half of the database's time is for slices, and a third deed would make each of them longer by half. Whoever
    waits has a place in the house meanwhile, which is another's, so that nobody waits for long: Unavailable says so.
    """
    threads = _of_short_ones if rows is not None and rows <= FIRST else _of_long_deeds
    at_work = threads.submit(copy_context().run, deed)
    told = asyncio.wrap_future(at_work)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(told)
    except asyncio.CancelledError:  # whoever asked has left; what has begun goes on
        at_work.cancel()
        raise
    except TimeoutError:
        if at_work.cancel():
            raise Unavailable(
                N_(
                    "Others are importing prompts or putting many away at the moment. Nothing of what you asked for was done. "
                    "Please try again in a minute."
                )
            ) from None
    return await told
