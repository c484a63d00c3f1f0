"""Snapshots of a database in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from app.database.backup import back_up
from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import upgrade_to_head
from app.errors import Conflict, Unavailable
from app.models import User


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'tastemaker.db'}"
    upgrade_to_head(url)
    return url


def test_a_backup_holds_what_is_committed_while_others_write(url: str, tmp_path: Path) -> None:
    engine = make_engine(url)
    with write_session(engine) as session:
        session.add(User(email="ada@example.org", name="Ada"))
    with write_session(engine) as session:
        session.add(User(email="eve@example.org", name="Eve"))
        session.flush()
        size = back_up(url, tmp_path / "copy.db")
    engine.dispose()

    assert size == (tmp_path / "copy.db").stat().st_size > 0
    copy = make_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    with read_session(copy) as session:
        assert session.scalars(select(User.name)).all() == ["Ada"]
    copy.dispose()


def test_a_backup_never_overwrites(url: str, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")

    with pytest.raises(Conflict, match="exists already"):
        back_up(url, tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_text() == "precious"


def test_a_copy_with_orphans_is_refused_and_removed(url: str, tmp_path: Path) -> None:
    engine = make_engine(url)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA foreign_keys=OFF")
        cursor.execute("INSERT INTO memberships (user_id, project_id, role, created_at) VALUES (7, 7, 'annotator', '2026-01-01')")
        cursor.close()
        connection.connection.commit()
    engine.dispose()

    with pytest.raises(Unavailable, match="not whole"):
        back_up(url, tmp_path / "copy.db")

    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == []


def test_a_database_that_is_not_there_is_said_to_be_absent(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no database"):
        back_up(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "copy.db")


def test_another_database_is_sent_to_its_own_tool(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="pg_dump"):
        back_up("postgresql+psycopg://nobody@localhost/none", tmp_path / "copy.db")


def test_a_folder_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="There is no folder"):
        back_up(url, tmp_path / "elsewhere" / "copy.db")
