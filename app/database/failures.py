"""What became of a statement that the database refused, by the error classes of both drivers, and of a file that a disk refused.

Passing: the same may go well in a moment (a database that is busy, full or starting, a deadlock, a lost connection). A clash:
what must be unique, or was still there in the eyes of who asked, is so no longer: somebody was faster.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
    TimeoutError,
)
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from app.errors import Busy, Refusal, Unavailable
from app.language.languages import N_
from trainer.contract.folder import write_a_page

PASSING: Final = (OperationalError, InternalError, InterfaceError, TimeoutError, Unavailable)
CLASHES: Final = (IntegrityError, PendingRollbackError, StaleDataError, ObjectDeletedError)
FULL: Final = N_("The disk of this installation is full. Nothing was stored; please tell whoever looks after it.")
READ_ONLY: Final = N_("The disk of this installation can only be read. Nothing was stored; please tell whoever looks after it.")
FORBIDDEN: Final = N_(
    "This installation may not write where it keeps its data. Nothing was stored; please tell whoever looks after it."
)
GONE: Final = N_(
    "The folder in which this installation keeps its data is gone. Nothing was stored; please tell whoever looks after it."
)
FAULTY: Final = N_("The disk of this installation fails. Nothing was stored; please tell whoever looks after it.")
DAMAGED: Final = N_("The database of this installation is damaged. Nothing was stored; please tell whoever looks after it.")
SERVER_FULL: Final = N_("The disk of the database server is full. Nothing was stored; please tell whoever looks after it.")
SERVER_READ_ONLY: Final = N_(
    "The database server takes no changes: it can only be read. Nothing was stored; please tell whoever looks after it."
)
SERVER_FAULTY: Final = N_("The disk of the database server fails. Nothing was stored; please tell whoever looks after it.")
UNREACHABLE: Final = N_("The database cannot be reached at the moment. Nothing was stored; please try again.")

SAYS_ALL: Final = (FULL, READ_ONLY, SERVER_FULL, SERVER_READ_ONLY)  # the library's own words would add nothing

_BY_ERRNO: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FULL),
    errno.EROFS: READ_ONLY,
    **dict.fromkeys((errno.EACCES, errno.EPERM), FORBIDDEN),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESTALE), GONE),
    **dict.fromkeys((errno.EIO, errno.ENXIO), FAULTY),
}
_BY_SQLITE: Final = {  # the first word of a result code's name, https://sqlite.org/rescode.html
    "FULL": FULL,
    "READONLY": READ_ONLY,
    "PERM": FORBIDDEN,
    "CANTOPEN": GONE,
    "IOERR": FAULTY,
    "CORRUPT": DAMAGED,
    "NOTADB": DAMAGED,
}
_NAMELESS: Final = {"disk I/O error": "SQLITE_IOERR", "database or disk is full": "SQLITE_FULL"}  # as a backup raises them
_BY_SQLSTATE: Final = {  # how a state begins, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "53100": SERVER_FULL,
    "25006": SERVER_READ_ONLY,
    "58": SERVER_FAULTY,
    "XX001": DAMAGED,
    "XX002": DAMAGED,
    "08": UNREACHABLE,
    "57P": UNREACHABLE,
}
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


def in_words(error: BaseException, folder: Path) -> Unavailable | None:
    """What keeps a database or a disk from storing anything, for a person; None where that is not what happened.

    `folder`: where it was to be stored.
    """
    if isinstance(error, Unavailable):
        return error
    words = what_a_disk_did(error, folder)
    if isinstance(error, OSError) or words:
        return Unavailable(words) if words else None
    return Busy() if is_passing(error) else None


def refusal_of(error: Exception, folder: Path) -> Refusal | None:
    """What is told where a reply has begun, so that there is no other status to say it with; None where it is a bug of ours."""
    if isinstance(error, Refusal):
        return error
    return Busy() if is_clash(error) else in_words(error, folder)


def what_a_disk_did(error: BaseException, folder: Path) -> str | None:
    """One of the sentences above; None where it was no disk and no server.

    SQLite often knows only that its disk fails, and not that it is full: then the folder is written to. PostgreSQL's disk is
    another one, of which that folder says nothing.
    """
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0)
    words = _of_driver(getattr(error, "orig", error)) if is_passing(error) or not isinstance(error, SQLAlchemyError) else None
    if words == FAULTY:
        try:
            write_a_page(folder)
        except OSError as refusal:
            return _BY_ERRNO.get(refusal.errno or 0, words)
    return words


def said_by(error: BaseException) -> str:
    """The first line of what a driver said, for who looks after the database; the values are not in it."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _of_driver(error: BaseException | None) -> str | None:
    if name := getattr(error, "sqlite_errorname", None) or _NAMELESS.get(str(error)):  # SQLITE_IOERR_WRITE
        return _BY_SQLITE.get(name.split("_")[1])
    if state := getattr(error, "sqlstate", None):
        return next((words for start, words in _BY_SQLSTATE.items() if state.startswith(start)), None)
    is_unreachable = hasattr(error, "sqlstate") and type(error).__name__ == "OperationalError"  # before there was a connection
    return UNREACHABLE if is_unreachable else None
