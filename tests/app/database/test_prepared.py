"""A prepared statement says what SQLAlchemy says, on either database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Select, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app.database.engine import write_session
from app.database.prepared import Prepared
from app.models import Project, User, Utc
from tests.app.factories import make_project

NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
CRITERIA = [{"key": "clear", "name": "Clear", "description": ""}]


@pytest.fixture
def filled(engine: Engine) -> Engine:
    with write_session(engine) as session:
        make_project(session, "tea", name="Tea", criteria=CRITERIA, created_at=NOW)
    return engine


def by_slug() -> Select[Any]:
    return select(
        Project.id,
        Project.criteria,
        Project.created_at,
        Project.archived_at.label("away"),
        (Project.name == "Tea").label("is_tea"),
    ).where(Project.slug == bindparam("slug"), Project.created_at <= bindparam("now", type_=Utc()), Project.name != "Coffee")


def test_a_row_has_the_attributes_and_values_it_has_elsewhere(filled: Engine) -> None:
    values = {"slug": "tea", "now": NOW, "not asked for": 1}
    with filled.connect() as connection:
        found = Prepared(by_slug()).first(connection, values)
        expected = connection.execute(by_slug(), values).one()
    assert found == tuple(expected)
    assert (found.criteria, found.created_at, found.away, found.is_tea) == (CRITERIA, NOW, None, True)
    assert (type(found.is_tea), found.created_at.tzinfo) == (bool, UTC)


def test_there_is_no_row_where_nothing_is_found_and_none_is_returned(filled: Engine) -> None:
    rename = Prepared(update(Project).where(Project.slug == "tea").values(name=bindparam("now_called")))
    again = Prepared(update(Project).where(Project.slug == "tea").values(name=bindparam("now_called")).returning(Project.name))
    with filled.begin() as connection:
        assert Prepared(by_slug()).first(connection, {"slug": "wine", "now": NOW}) is None
        assert rename.first(connection, {"now_called": "Green tea"}) is None
        assert connection.execute(select(Project.name)).scalar_one() == "Green tea"
        assert again.first(connection, {"now_called": "Tea"}).name == "Tea"


def test_a_value_that_is_missing_is_no_null(filled: Engine) -> None:
    with filled.connect() as connection, pytest.raises(KeyError, match="slug"):
        Prepared(by_slug()).first(connection, {"now": NOW})


def test_what_fails_is_told_as_the_library_tells_it(filled: Engine) -> None:
    one_more = Prepared(insert(User).values(email=bindparam("email"), name="Ada", is_owner=False, language="en", created_at=NOW))

    def store(connection: Connection) -> None:
        one_more.first(connection, {"email": "ada@example.org"})

    with filled.begin() as connection:
        store(connection)
        with pytest.raises(IntegrityError, match="email"):
            store(connection)
    with filled.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(OperationalError, match="readonly"):
            one_more.first(connection, {"email": "eve@example.org"})
        connection.exec_driver_sql("PRAGMA query_only = OFF")


def test_a_list_among_the_values_is_refused(filled: Engine) -> None:
    several = Prepared(select(Project.id).where(Project.slug.in_(bindparam("slugs", expanding=True))))
    with filled.connect() as connection, pytest.raises(ValueError, match="each length"):
        several.first(connection, {"slugs": ["tea"]})


def test_a_default_that_python_makes_is_refused(filled: Engine) -> None:
    user = Prepared(insert(User).values(email=bindparam("email"), name="Ada"))
    with filled.begin() as connection, pytest.raises(ValueError, match="every column"):
        user.first(connection, {"email": "ada@example.org"})
