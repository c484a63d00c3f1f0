"""Whatever either database refuses is a clash or a moment of weakness to who asked, and never a failure of ours."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import FastAPI
from psycopg import errors
from sqlalchemy import Engine, exc, inspect, text
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from starlette.testclient import TestClient

from app.database.engine import WriteDb, make_engine, sqlite_module
from app.database.failures import (
    FAULTY,
    FULL,
    SERVER_READ_ONLY,
    in_words,
    is_clash,
    is_passing,
    is_worth_another_try,
    what_a_disk_did,
)
from app.database.second_try import SecondTry
from app.errors import Unavailable
from app.models import User
from app.web.error_replies import add_handlers
from tests.app import factories
from tests.failing_disk import full_disk
from tests.postgres import server
from trainer.contract.folder import A_PAGE

__all__ = ["server"]

sqlite = sqlite_module()


def wrapped(error: Exception, base: type[Exception]) -> exc.DBAPIError:
    made = exc.DBAPIError.instance("SELECT 1", {}, error, base)
    assert isinstance(made, exc.DBAPIError)
    return made


@pytest.mark.parametrize(
    "error",
    [
        errors.SerializationFailure(),
        errors.DeadlockDetected(),
        errors.LockNotAvailable(),
        errors.AdminShutdown(),
        errors.CannotConnectNow(),
        errors.TooManyConnections(),
        errors.DiskFull(),
        errors.QueryCanceled(),
        errors.IdleInTransactionSessionTimeout(),
        errors.InFailedSqlTransaction(),
        errors.InterfaceError("the connection is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_on_postgresql(error: Exception) -> None:
    assert is_passing(wrapped(error, errors.Error))
    assert not is_clash(wrapped(error, errors.Error))


@pytest.mark.parametrize(
    "error",
    [
        sqlite.OperationalError("database is locked"),
        sqlite.OperationalError("database or disk is full"),
        sqlite.OperationalError("disk I/O error"),
        sqlite.OperationalError("attempt to write a readonly database"),
        sqlite.DatabaseError("database disk image is malformed"),
    ],
    ids=str,
)
def test_what_passes_on_sqlite(error: Exception) -> None:
    assert is_passing(wrapped(error, sqlite.Error))


def test_a_pool_that_is_used_up_and_a_connection_that_is_lost_pass() -> None:
    assert is_passing(exc.TimeoutError())
    lost = exc.DBAPIError.instance("SELECT 1", {}, errors.UndefinedColumn(), errors.Error, connection_invalidated=True)
    assert isinstance(lost, BaseException)
    assert is_passing(lost)


def test_a_unique_row_that_is_there_is_a_clash_and_a_wrong_statement_neither() -> None:
    for error, base in ((errors.UniqueViolation(), errors.Error), (sqlite.IntegrityError(), sqlite.Error)):
        assert is_clash(wrapped(error, base))
        assert not is_passing(wrapped(error, base))
    wrong = wrapped(errors.UndefinedColumn(), errors.Error)
    assert not is_clash(wrong)
    assert not is_passing(wrong)


def test_only_who_had_to_give_way_or_came_second_tries_again() -> None:
    assert is_worth_another_try(wrapped(errors.DeadlockDetected(), errors.Error))
    assert is_worth_another_try(wrapped(errors.UniqueViolation(), errors.Error))
    assert not is_worth_another_try(wrapped(errors.LockNotAvailable(), errors.Error))  # who waited so long is told so


# As a request sees it


class Tried(list[str]):
    """The bodies that the route was given, and what it raises after each."""

    raises: list[Exception]


@pytest.fixture
def tried() -> Tried:
    return Tried()


@pytest.fixture
def program(app: FastAPI, engine: Engine, tried: Tried) -> Iterator[TestClient]:
    """A route that adds a person, and fails as it is told to after that."""
    routes = FastAPI()
    routes.state = app.state

    @routes.post("/api/people")
    def add(body: dict[str, str], session: WriteDb) -> dict[str, int]:
        tried.append(body["name"])
        made = factories.make_user(session, body["name"]).id
        if tried.raises:
            raise tried.raises.pop(0)
        return {"id": made}

    add_handlers(routes)
    routes.add_middleware(SecondTry)
    with TestClient(routes, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def people(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT name FROM users")).scalars())


@pytest.mark.parametrize("error", [errors.SerializationFailure(), errors.DeadlockDetected(), errors.UniqueViolation()])
def test_who_had_to_give_way_does_it_again_and_once(program: TestClient, engine: Engine, tried: Tried, error: Exception) -> None:
    tried.raises = [wrapped(error, errors.Error)] * 2
    reply = program.post("/api/people", json={"name": "Hedy"})
    assert reply.status_code == 200
    assert (tried, people(engine)) == (["Hedy"] * 3, ["Hedy"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UniqueViolation(), 409),
        (errors.ForeignKeyViolation(), 409),
        (errors.DeadlockDetected(), 503),
        (errors.AdminShutdown(), 503),
        (errors.InFailedSqlTransaction(), 503),
        (errors.InterfaceError("closed"), 503),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_stays_so_is_said_and_stores_nothing(
    program: TestClient, engine: Engine, tried: Tried, error: Exception, status: int
) -> None:
    tried.raises = [wrapped(error, errors.Error)] * 9
    reply = program.post("/api/people", json={"name": "Hedy"})
    assert (reply.status_code, reply.json()["status"]) == (status, status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert people(engine) == []


def test_a_database_that_is_away_is_one_line_of_the_log_a_request(
    program: TestClient, tried: Tried, caplog: pytest.LogCaptureFixture
) -> None:
    tried.raises = [wrapped(errors.CannotConnectNow("the database system is starting up"), errors.Error)]
    assert program.post("/api/people", json={"name": "Hedy"}).status_code == 503
    (line,) = caplog.text.splitlines()
    assert "the database system is starting up" in line


def test_a_database_that_is_away_says_when_to_come_back(program: TestClient, tried: Tried) -> None:
    tried.raises = [wrapped(errors.CannotConnectNow("starting up"), errors.Error), Unavailable("closed")]
    for _ in range(2):
        assert int(program.post("/api/people", json={"name": "Hedy"}).headers["retry-after"]) > 0


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_a_single_file_that_is_missing_or_closed_is_a_bug_of_ours(program: TestClient, tried: Tried, number: int) -> None:
    tried.raises = [OSError(number, os.strerror(number), "/usr/share/zoneinfo/x")]
    assert program.post("/api/people", json={"name": "Hedy"}).status_code == 500
    tried.raises = [OSError(errno.ENOSPC, "No space left on device", "/usr/share/zoneinfo/x")]
    assert program.post("/api/people", json={"name": "Hedy"}).status_code == 503


@pytest.mark.parametrize(
    "error",
    [
        StaleDataError("UPDATE statement on table expected to update 1 row(s); 0 were matched."),
        ObjectDeletedError(inspect(User(name="Hedy"))),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_row_that_vanished_meanwhile_is_a_clash(program: TestClient, tried: Tried, error: Exception) -> None:
    tried.raises = [error] * 9
    assert program.post("/api/people", json={"name": "Hedy"}).status_code == 409


def test_a_bug_of_ours_is_called_one_and_not_repeated(program: TestClient, tried: Tried) -> None:
    tried.raises = [wrapped(errors.UndefinedColumn(), errors.Error)] * 9
    assert program.post("/api/people", json={"name": "Hedy"}).status_code == 500
    assert len(tried) == 1


# As whoever looks after the installation is told it


def test_a_disk_that_fails_for_lack_of_room_is_a_full_one(tmp_path: Path) -> None:
    """SQLite knows only that it could not write."""
    with closing(sqlite.connect(tmp_path / "a.db")) as connection:
        connection.isolation_level = None
        connection.execute("CREATE TABLE a (b)")
        with full_disk(A_PAGE - 1):
            with pytest.raises(sqlite.OperationalError, match="disk I/O error") as refused:
                connection.execute("INSERT INTO a VALUES (zeroblob(100000))")
            assert what_a_disk_did(refused.value, tmp_path) == FULL
            assert str(in_words(wrapped(refused.value, sqlite.Error), tmp_path)) == FULL
        assert what_a_disk_did(refused.value, tmp_path) == FAULTY


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.DiskFull(), "The disk of the database server is full."),
        (errors.IoError(), "The disk of the database server fails."),
        (errors.UndefinedFile(), "The disk of the database server fails."),
        (errors.ReadOnlySqlTransaction(), "The database server takes no changes"),
        (errors.AdminShutdown(), "The database cannot be reached at the moment."),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_the_disk_of_a_database_server_did_is_said_of_that_server(tmp_path: Path, error: Exception, words: str) -> None:
    """Whatever the disk under the data folder does meanwhile."""
    with full_disk(A_PAGE - 1):
        told = in_words(wrapped(error, errors.Error), tmp_path)
    assert str(told).startswith(words)


def test_a_database_server_that_can_only_be_read_is_told_as_such(server: str, tmp_path: Path) -> None:
    engine = make_engine(server)
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(exc.InternalError) as refused:
            connection.execute(text("CREATE TABLE a (b int)"))
    engine.dispose()
    assert what_a_disk_did(refused.value, tmp_path) == SERVER_READ_ONLY
