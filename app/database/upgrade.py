"""Bring the database to the newest schema, with a net under every step.

An Alembic batch migration rebuilds tables. With foreign keys on, dropping the old table once deleted every child row, and a
wrong step can lose rows in silence. So: one upgrade at a time, a backup first, foreign keys off before the transaction
begins, and a rollback when a row count falls or a row is orphaned.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, func, inspect, select, text

from app.database.backup import back_up
from app.database.engine import make_engine
from app.errors import Unavailable
from app.shipped import shipped

MIGRATIONS = shipped("migrations")
ADVISORY_LOCK = 7_265_118_301  # any number of our own


class UpgradeError(Exception):
    """The upgrade was undone; the text says why."""


@lru_cache(maxsize=4)
def head(migrations: Path | None = None) -> str:
    """The newest revision there is. Alembic is loaded where it is used: the web process starts without it."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory(str(migrations or MIGRATIONS)).get_current_head()
    assert revision is not None
    return revision


def revision_of(engine: Engine) -> str | None:
    """The revision the database is at; none for an empty one."""
    with engine.connect() as connection:
        return revision_in(connection)


def revision_in(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def is_at_head(engine: Engine) -> bool:
    return revision_of(engine) == head(MIGRATIONS)


def require_head(engine: Engine) -> None:
    """Raises Unavailable when the code and the database do not fit together."""
    found = revision_of(engine)
    if found != head(MIGRATIONS):
        raise Unavailable(
            f"The database is at version {found or 'none'}, and this Tastemaker needs {head(MIGRATIONS)}. "
            "`tastemaker up` brings an older database there; a newer one needs the Tastemaker that made it."
        )


def upgrade_to_head(url: str) -> Path | None:
    """Upgrade the database; returns where the backup is, when one was needed. Does nothing at head.

    Raises UpgradeError, with the database as it was, when the upgrade would lose or orphan a row.
    """
    from alembic import command
    from alembic.config import Config

    engine = make_engine(url)
    try:
        with _one_at_a_time(engine):
            before = revision_of(engine)
            if before == head(MIGRATIONS):
                return None
            if before is not None:
                _require_known(before)
            backup = _back_up(engine, before) if before else None
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            config.attributes["engine"] = engine
            command.upgrade(config, "head")
            return backup
    finally:
        engine.dispose()


def _require_known(revision: str) -> None:
    """Of a newer Tastemaker's database not even a copy is made: each start would make another."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory(str(MIGRATIONS)).get_revision(revision)
    except CommandError:
        raise UpgradeError(f"it is at version {revision}, and needs the newer Tastemaker that made it") from None


@contextmanager
def safety_net(engine: Engine) -> Iterator[Connection]:
    """A connection for a migration: committed only when no table lost a row and no row points nowhere."""
    sqlite = engine.dialect.name == "sqlite"
    with engine.execution_options(tastemaker_writes=True).connect() as connection:
        if sqlite:  # ignored inside a transaction, so before it begins
            _pragma(connection, "foreign_keys=OFF")
        try:
            counts = _counts(connection)
            yield connection
            _refuse_losses(counts, _counts(connection))
            if sqlite and (orphan := connection.execute(text("PRAGMA foreign_key_check")).first()):
                raise UpgradeError(f"a row of {orphan[0]} would point at nothing in {orphan[2]}; the upgrade was undone")
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        finally:
            if sqlite:
                _pragma(connection, "foreign_keys=ON")


def _pragma(connection: Connection, setting: str) -> None:
    """Outside of SQLAlchemy's transaction, which would begin at the first statement."""
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _counts(connection: Connection) -> dict[str, int]:
    metadata = MetaData()
    metadata.reflect(connection, resolve_fks=False)
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in metadata.tables.items()
        if name != "alembic_version"
    }


def _refuse_losses(before: dict[str, int], after: dict[str, int]) -> None:
    for name, count in before.items():
        left = after.get(name, 0)
        if left < count:
            raise UpgradeError(f"{name} would have gone from {count} to {left} rows; the upgrade was undone")


def _back_up(engine: Engine, revision: str) -> Path | None:
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    database = Path(engine.url.database)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = database.with_name(f"{database.name}.before-upgrade-from-{revision}-{stamp}")
    back_up(engine.url.render_as_string(hide_password=False), target)
    return target


@contextmanager
def _one_at_a_time(engine: Engine) -> Iterator[None]:
    """Waits while another process upgrades the same database."""
    if engine.dialect.name != "sqlite":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            yield
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        return
    if not engine.url.database:
        raise UpgradeError("a database in memory cannot be upgraded")
    database = Path(engine.url.database)
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(database.name + ".upgrade-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        inspect(engine)  # opens the file, so that a wrong path or permission is said here
        yield
