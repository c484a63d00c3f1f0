"""What became of a statement that the database refused, by the error classes of both drivers.

Passing: the same may go well in a moment (a database that is busy, full or starting, a deadlock, a lost connection). A clash:
what must be unique, or was still there in the eyes of who asked, is so no longer: somebody was faster.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    TimeoutError,
)
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from app.errors import Unavailable

PASSING: Final = (OperationalError, InternalError, InterfaceError, TimeoutError, Unavailable)
CLASHES: Final = (IntegrityError, PendingRollbackError, StaleDataError, ObjectDeletedError)
_ROLLED_BACK: Final = ("40001", "40P01")  # SQLSTATE: a serialisation failure, a deadlock


def is_passing(error: BaseException) -> bool:
    """Whether the same may go well in a moment."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    broken = type(error) is DatabaseError  # SQLite: the file is damaged or none of its own, until somebody mends that
    return lost or broken or isinstance(error, PASSING)


def is_clash(error: BaseException) -> bool:
    """Whether somebody else was faster."""
    return isinstance(error, CLASHES)


def is_worth_another_try(error: BaseException) -> bool:
    """Whether to do all of it again at once: this transaction had to give way, or a second look sees what clashed."""
    return is_clash(error) or (isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _ROLLED_BACK)
