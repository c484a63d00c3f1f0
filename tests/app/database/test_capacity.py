"""One number gives all sizes, and PostgreSQL is asked at the start whether it gives as many connections."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from app.database.capacity import COMMAND, Capacity, require_connections
from app.database.engine import make_engine
from app.errors import Unavailable
from app.settings import Settings
from tests.postgres import engine, server

__all__ = ["engine", "server"]


@pytest.mark.parametrize("at_once", [2, 16, 200])
def test_there_are_more_connections_than_can_be_held_by_who_waits_for_a_thread(at_once: int) -> None:
    capacity = Capacity(at_once)
    in_the_house = capacity.at_once + capacity.letting_in  # who judges holds none while they wait

    assert capacity.connections > in_the_house
    assert capacity.threads >= in_the_house  # whoever holds a row finds a thread beside all who wait for it


def test_three_web_processes_and_two_workers_fit_into_what_postgresql_gives_by_default() -> None:
    web, worker = Capacity(Settings().at_once), COMMAND
    assert 3 * web.connections + 4 <= 97  # a worker holds one or two
    assert worker.connections < web.connections


def test_a_server_that_gives_fewer_connections_ends_the_start_with_what_to_set(engine: Engine) -> None:
    require_connections(engine, Capacity(16))  # 100 less 3

    with pytest.raises(Unavailable, match="TASTEMAKER_AT_ONCE to 44 or less"):
        require_connections(engine, Capacity(50))


@pytest.mark.parametrize("limited", ["ALTER ROLE few CONNECTION LIMIT 20", "ALTER DATABASE postgres CONNECTION LIMIT 20"])
def test_limits_of_the_role_and_of_the_database_count_too(engine: Engine, limited: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE few LOGIN"))
        connection.execute(text(limited))
    theirs = make_engine(engine.url.set(username="few").render_as_string(hide_password=False))
    try:
        with pytest.raises(Unavailable, match="gives it 20 at most: set TASTEMAKER_AT_ONCE to 6 or less"):
            require_connections(theirs, Capacity(16))
    finally:
        theirs.dispose()
        with engine.begin() as connection:
            connection.execute(text("ALTER DATABASE postgres CONNECTION LIMIT -1"))
            connection.execute(text("DROP ROLE few"))
