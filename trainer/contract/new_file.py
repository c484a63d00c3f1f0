"""Putting a finished file at a place where there is none yet: it appears whole, and never takes the place of another.

A hard link does that. exFAT and some shares in a network have none: there a rename is asked not to replace, and where that cannot
be asked either, the place is taken by an empty file first.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
CANNOT_ASK: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
AT_FDCWD: Final = -100  # <fcntl.h>
RENAME_NOREPLACE: Final = 1  # <linux/fs.h>
_libc: Final = ctypes.CDLL(None, use_errno=True)


def put_new(finished: Path, path: Path) -> None:
    """Make `finished` be at `path`, on the same disk. Raises FileExistsError where something is there, also since a moment ago.

    With a link it keeps its first name as well.
    """
    try:
        os.link(finished, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if not _renamed(finished, path):
            _put_over_an_empty_one(finished, path)


def _renamed(finished: Path, path: Path) -> bool:
    """A rename that never replaces, renameat2(2); False where the system or the disk knows none."""
    rename = getattr(_libc, "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(finished), AT_FDCWD, os.fsencode(path), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_ASK:
        return False
    raise OSError(number, os.strerror(number), str(finished), None, str(path))


def _put_over_an_empty_one(finished: Path, path: Path) -> None:
    """Whoever looks in between sees an empty file; nobody else's is replaced."""
    path.touch(exist_ok=False)
    try:
        finished.replace(path)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
