"""What one process does at once: threads, connections and those who wait, all from one number.

A connection may be kept, while its holder waits for a thread or for a row that somebody else has, or be taken for a moment, to
read. There are more connections than can be kept, so that whoever takes one for a moment gets it, finishes, and gives it back;
nobody waits in a circle.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.errors import Unavailable

AT_THE_GATE: Final = 4  # who ask it at once, where that takes a thread
BESIDE: Final = 3 + AT_THE_GATE  # connections for what runs beside requests: health, last uses, failed sign-ins; and for a moment


@dataclass(frozen=True)
class Capacity:
    """The sizes of a process that answers so many requests at once."""

    at_once: int

    @property
    def threads(self) -> int:
        """One for each request in the house: one that holds a row never waits for a thread behind those that wait for the row.

        A second time as many commit verdicts where these do not share a commit.
        """
        return self.at_once + self.letting_in

    @property
    def connections(self) -> int:
        """One for each request in the house, one for each thread that commits verdicts where they do not share, and a few beside.

        What writes in slices for a request takes that request's. Projects and pieces of an export are read for a moment.
        """
        return 2 * self.threads + BESIDE

    @property
    def judging(self) -> int:
        """Claims and verdicts in the house: these hold neither a thread nor a connection of their own while they wait."""
        return 8 * self.at_once

    @property
    def letting_in(self) -> int:
        """Beside those in the house, who sign in or choose a password: that takes the processor for a tenth of a second."""
        return max(1, self.at_once // 2)

    @property
    def sockets(self) -> int:
        """Open connections of browsers and programs: most rest between two requests."""
        return 256 * self.at_once


COMMAND: Final = Capacity(4)  # a worker or a command does one thing, and a few beside it


def require_connections(engine: Engine, capacity: Capacity) -> None:
    """Raises Unavailable where the PostgreSQL server would never give this process the connections it may need."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        given = connection.scalar(_GIVEN)
    if given is not None and given < capacity.connections:
        fitting = max((one for one in range(1, given) if Capacity(one).connections <= given), default=1)
        raise Unavailable(
            f"This web process may need {capacity.connections} connections, and PostgreSQL gives it {given} at most: "
            f"set TASTEMAKER_AT_ONCE to {fitting} or less, or raise max_connections there."
        )


def open_connections(engine: Engine, capacity: Capacity) -> None:
    """Open at the start what the first crowd would have to wait for: PostgreSQL starts a process for each connection.

    Where it gives fewer now (the process before this one is still ending), the rest is opened when somebody needs it.
    """
    if engine.dialect.name != "postgresql":
        return
    with suppress(OperationalError), ExitStack() as stack:
        for _ in range(capacity.connections):
            stack.enter_context(engine.connect())


# The server's own limit less what it keeps for administrators, the role's and the database's; -1 is none.
_GIVEN: Final = text(
    """SELECT least(
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int,
      (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
      (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))"""
)
