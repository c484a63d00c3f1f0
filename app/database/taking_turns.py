"""Taking turns at what a row owns: the one rule for what must be unique or happen once.

On PostgreSQL reading and then writing is not one step. Whoever decides by what they read (whether a round is open, which answers
nobody was asked about, which version comes next) first holds the row that owns it, and reads then. Locks are taken from owner to
owned: project, person, run, task, seat. What two may make without an owner (an address, a name) is for a constraint to decide,
and the request is done again. SQLite's writers take turns anyhow.
"""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy.orm import Session

Row = TypeVar("Row")


def hold(session: Session, row: Row) -> Row:
    """The row, read anew and kept until the transaction ends. Rows that point to it (a verdict) are written meanwhile."""
    session.flush()  # what was set on it so far would be forgotten
    session.refresh(row, with_for_update={"key_share": True})
    return row
