"""A verified copy of the database while it is in use."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from app.database.engine import is_sqlite, sqlite_module
from app.database.failures import FULL, what_a_disk_did
from app.errors import Conflict, Unavailable
from trainer.contract.folder import whole


def back_up(url: str, target: Path) -> int:
    """Copy a SQLite database that may be in use: what was committed before the call is in the copy. Returns its bytes.

    The copy appears under its name only when it is complete, checked and on the disk. Raises Conflict when `target` exists
    and Unavailable when there is nothing to copy or the copy is not whole.
    """
    if not is_sqlite(url):
        raise Unavailable("This database is not SQLite. Back it up with its own tool: pg_dump for PostgreSQL.")
    source = Path(make_url(url).database or "")
    if not source.is_file():
        raise Unavailable(f"There is no database at {source}.")
    if not target.parent.is_dir():
        raise Unavailable(f"There is no folder {target.parent}. Make it, or choose another; nothing was written.")
    if target.exists():
        raise Conflict(f"{target} exists already. Choose another name; nothing was written.")
    try:
        with whole(target, new=True) as unfinished:
            try:
                _copy(source, unfinished)
                _verify(unfinished)
            except sqlite_module().Error as error:  # asked while what was copied so far still takes the room
                full = what_a_disk_did(error, target.parent) == FULL
                why = "there is no room left for it" if full else str(error)
                raise Unavailable(f"{source} could not be copied to {target}: {why}. Nothing of the copy was kept.") from error
    except FileExistsError:
        raise Conflict(f"{target} exists already. Choose another name; nothing was written.") from None
    return target.stat().st_size


def _copy(source: Path, target: Path) -> None:
    sqlite = sqlite_module()
    target.touch(mode=0o600)  # it holds what the database holds
    with closing(sqlite.connect(source, timeout=5)) as reading, closing(sqlite.connect(target)) as writing:
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it


def _verify(path: Path) -> None:
    sqlite = sqlite_module()
    with closing(sqlite.connect(path)) as copy:
        problems = [row[0] for row in copy.execute("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [f"a row of {row[0]} points at nothing in {row[2]}" for row in copy.execute("PRAGMA foreign_key_check")]
    if problems:
        raise Unavailable(f"The copy is not whole and was thrown away: {'; '.join(problems[:5])}.")
