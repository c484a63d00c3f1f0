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

LEAST_AT_ONCE: Final = 2
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
        limits = connection.execute(_LIMITS).one()._asdict()
    given, which = min((limit, which) for which, limit in limits.items() if limit is not None)
    if given >= capacity.connections:
        return
    fitting = [one for one in range(LEAST_AT_ONCE, capacity.at_once) if Capacity(one).connections <= given]
    advice = f"set TASTEMAKER_AT_ONCE to {fitting[-1]} or less, or raise" if fitting else "raise"
    least = "" if fitting else f", {Capacity(LEAST_AT_ONCE).connections} at least"
    raise Unavailable(
        f"This web process may need {capacity.connections} connections{least}, and PostgreSQL gives it {given} at most: "
        f"{advice} {_CALLED[which]} there."
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


# The server's own limit less what it keeps for administrators (of the second kind since PostgreSQL 16), that of the role that
# signed in, and the database's; -1 is none.
_LIMITS: Final = text(
    """SELECT
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int AS server,
      (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user) AS role,
      (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()) AS database"""
)
_CALLED: Final = {
    "server": "max_connections",
    "role": "the CONNECTION LIMIT of its role",
    "database": "the CONNECTION LIMIT of its database",
}
