"""One number gives all sizes, and PostgreSQL is asked at the start whether it gives as many connections."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import current_default_thread_limiter
from sqlalchemy import Engine, event, select, text
from sqlalchemy.pool import QueuePool
from starlette.testclient import TestClient

from app.database.capacity import AT_THE_GATE, COMMAND, Capacity, open_connections, require_connections
from app.database.engine import make_engine, write_session
from app.errors import Unavailable
from app.main import create_app
from app.models import Project, Seat, utc_now
from app.settings import Settings
from app.web.security import hash_password, session_cookie
from tests.app import factories
from tests.postgres import engine, server

__all__ = ["engine", "server"]


@pytest.mark.parametrize("at_once", [2, 8, 16, 200])
def test_there_are_more_connections_than_can_be_kept(at_once: int) -> None:
    capacity = Capacity(at_once)
    in_the_house = capacity.at_once + capacity.letting_in  # who judges holds none while they wait
    committing, beside = capacity.threads, 3  # health, last uses, failed sign-ins

    assert capacity.connections == in_the_house + committing + beside + AT_THE_GATE
    assert capacity.threads == in_the_house  # whoever holds a row finds a thread beside all who wait for it


def test_the_sizes_of_a_process_by_default() -> None:
    """As docs/operations.md has them."""
    capacity = Capacity(Settings().at_once)
    sizes = (capacity.at_once, capacity.letting_in, capacity.threads, capacity.connections, capacity.judging, capacity.sockets)
    assert sizes == (8, 4, 12, 31, 64, 2048)
    assert Capacity(2).letting_in == 1
    assert Capacity(4) == COMMAND


def test_three_web_processes_and_two_workers_fit_into_what_postgresql_gives_by_default() -> None:
    web, worker = Capacity(Settings().at_once), COMMAND
    assert 3 * web.connections + 4 <= 97  # a worker holds one or two
    assert worker.connections < web.connections
    assert 3 * (web.connections + 1) + 4 > 97  # and no more than that


def advice(engine: Engine, at_once: int) -> str:
    """What a start says where so many at once are too many."""
    with pytest.raises(Unavailable) as refused:
        require_connections(engine, Capacity(at_once))
    return refused.value.detail


@contextmanager
def few(engine: Engine, *limited: str) -> Iterator[Engine]:
    """The engine of another role, after some statements."""
    with engine.begin() as connection:
        for statement in ("CREATE ROLE few LOGIN", "GRANT CREATE, USAGE ON SCHEMA public TO few", *limited):
            connection.execute(text(statement))
    theirs = make_engine(engine.url.set(username="few").render_as_string(hide_password=False))
    try:
        yield theirs
    finally:
        theirs.dispose()
        with engine.begin() as connection:
            connection.execute(text("ALTER DATABASE postgres CONNECTION LIMIT -1"))
            connection.execute(text("DROP OWNED BY few"))
            connection.execute(text("DROP ROLE few"))


def test_a_server_that_gives_fewer_connections_ends_the_start_with_what_to_set(engine: Engine) -> None:
    require_connections(engine, Capacity(30))
    assert advice(engine, 50) == (
        "This web process may need 157 connections, and PostgreSQL gives it 97 at most: "  # 100 less 3
        "set TASTEMAKER_AT_ONCE to 30 or less, or raise max_connections there."
    )


def test_exactly_as_many_as_it_may_need_are_enough(engine: Engine) -> None:
    with few(engine, f"ALTER ROLE few CONNECTION LIMIT {Capacity(8).connections}") as theirs:
        require_connections(theirs, Capacity(8))
    with few(engine, f"ALTER ROLE few CONNECTION LIMIT {Capacity(8).connections - 1}") as theirs:
        assert "set TASTEMAKER_AT_ONCE to 7 or less" in advice(theirs, 8)


@pytest.mark.parametrize("whose", ["ROLE few", "DATABASE postgres"])
def test_limits_of_the_role_and_of_the_database_count_too(engine: Engine, whose: str) -> None:
    with few(engine, f"ALTER {whose} CONNECTION LIMIT 20") as theirs:
        assert advice(theirs, 16).endswith(
            "gives it 20 at most: set TASTEMAKER_AT_ONCE to 4 or less, or raise the CONNECTION LIMIT of its "
            f"{whose.split()[0].lower()} there."
        )


def test_the_limit_is_that_of_the_role_that_signed_in(engine: Engine) -> None:
    other = engine.url.username
    limited = "ALTER ROLE few CONNECTION LIMIT 20", f"GRANT {other} TO few", f"ALTER ROLE few SET role TO {other}"
    with few(engine, *limited) as theirs:
        assert "gives it 20 at most" in advice(theirs, 16)


def test_what_a_server_keeps_for_who_looks_after_it_counts_too(engine: Engine) -> None:
    """Since PostgreSQL 16: an earlier one is given the setting."""
    kept = """CREATE FUNCTION public.current_setting(name text, missing_ok boolean) RETURNS text LANGUAGE sql AS $$
        SELECT CASE name WHEN 'reserved_connections' THEN '10' ELSE pg_catalog.current_setting(name, missing_ok) END $$"""
    with few(engine, kept, "ALTER ROLE few SET search_path = public, pg_catalog") as theirs:
        try:
            assert "gives it 87 at most" in advice(theirs, 50)
        finally:
            with engine.begin() as connection:
                connection.execute(text("DROP FUNCTION public.current_setting(text, boolean)"))


@pytest.mark.parametrize("given", [5, 12, 13, 14, 20, 30])
def test_only_what_settings_take_is_advised(engine: Engine, given: int) -> None:
    with few(engine, f"ALTER ROLE few CONNECTION LIMIT {given}") as theirs:
        said = advice(theirs, 8)
        advised = re.search(r"set TASTEMAKER_AT_ONCE to (\d+) or less", said)
        assert (advised is None) == (given < 13), said  # two at once need 13
        if advised is None:
            assert "may need 31 connections, 13 at least, and" in said
            assert said.endswith(f"gives it {given} at most: raise the CONNECTION LIMIT of its role there.")
        else:
            require_connections(theirs, Capacity(Settings(at_once=int(advised[1])).at_once))


PASSWORD = "a long enough one"


def test_a_process_that_keeps_all_it_can_keep_still_serves_who_judges(engine: Engine, server: str, tmp_path: Path) -> None:
    """Whatever can keep a connection does: its rows are somebody else's for a while. All of them, and no more. On PostgreSQL."""
    app = create_app(Settings(data=tmp_path, database_url=server))
    capacity, pool = Capacity(Settings().at_once), app.state.engine.pool
    slug, tasks, free, key, guests = _cast(engine, capacity)
    calls: list[Future[Any]] = []
    with (
        TestClient(app, base_url="http://localhost") as client,
        ThreadPoolExecutor(2 * capacity.connections) as threads,
        engine.connect() as others,
        engine.connect() as sessions,
    ):
        bearer = {"authorization": f"Bearer {key}"}
        token = _token(client)

        def call(method: str, path: str, **more: Any) -> None:
            calls.append(threads.submit(client.request, method, path, follow_redirects=False, **more))

        def kept(number: int) -> bool:
            return _within(4.0, lambda: pool.checkedout() >= number)

        try:
            for rows in (
                "projects WHERE slug = :slug",
                "tasks",
                "users WHERE password_hash <> ''",
                "api_keys",
                "alembic_version",
            ):
                others.execute(text(f"SELECT 1 FROM {rows} FOR UPDATE"), {"slug": slug} if ":slug" in rows else {})
            others.execute(text("LOCK TABLE audit IN EXCLUSIVE MODE"))
            for task in tasks[1:]:  # all threads of verdicts but one
                call("POST", f"/api/v1/tasks/{task}/label", headers=bearer, json=_verdict())
            assert kept(12)  # and the key's last use
            app.state.failures.note(1, "127.0.0.1")
            assert kept(13)
            call("GET", "/api/v1/health")
            assert kept(14)
            for email in guests:
                call("POST", "/sign-in", data={"email": email, "password": PASSWORD, "csrf_token": token})
            assert kept(18)
            for _ in range(8):
                call("PATCH", f"/api/v1/projects/{slug}", headers=bearer, json={"overlap": 2})
            assert kept(26)

            began = time.monotonic()
            claimed = threads.submit(client.post, f"/api/v1/projects/{free}/tasks/next", headers=bearer).result(timeout=10)
            assert claimed.status_code in (200, 204), claimed.text
            assert time.monotonic() - began < 2

            call("POST", f"/api/v1/tasks/{tasks[0]}/label", headers=bearer, json=_verdict())
            assert kept(27)
            sessions.execute(text("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE"))
            for _ in range(AT_THE_GATE):
                call("POST", f"/api/v1/projects/{free}/tasks/next", headers={"cookie": f"{session_cookie(Settings())}=none"})
            assert kept(31)
            assert capacity.connections == 31
        finally:
            sessions.rollback()
            others.rollback()
        statuses = [one.result(timeout=30).status_code for one in calls]
    app.state.uses.finish()
    app.state.failures.finish()
    app.state.engine.dispose()
    assert statuses == [201] * 11 + [200] + [303] * 4 + [200] * 8 + [201] + [401] * 4


def test_who_judges_is_let_in_where_all_threads_wait(engine: Engine, server: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, database_url=server))
    with write_session(engine) as session:
        judge = factories.make_user(session, "Judge", owner=True)
        key, slug = factories.make_key(session, judge.id, "annotate"), factories.make_project(session).slug
    with TestClient(app, base_url="http://localhost") as client, ThreadPoolExecutor(1) as thread:
        assert client.portal is not None

        async def take_all() -> list[object]:
            limiter = current_default_thread_limiter()
            borrowers: list[object] = [object() for _ in range(int(limiter.total_tokens))]
            for borrower in borrowers:
                await limiter.acquire_on_behalf_of(borrower)
            return borrowers

        async def give_back(borrowers: list[object]) -> None:
            for borrower in borrowers:
                current_default_thread_limiter().release_on_behalf_of(borrower)

        taken = client.portal.call(take_all)
        assert len(taken) == Capacity(Settings().at_once).threads
        try:
            bearer = {"authorization": f"Bearer {key}"}
            claiming = thread.submit(client.post, f"/api/v1/projects/{slug}/tasks/next", headers=bearer)
            assert _within(5.0, claiming.done)
        finally:
            client.portal.call(give_back, taken)
        assert claiming.result(timeout=10).status_code == 204
    app.state.uses.finish()
    app.state.engine.dispose()


def _cast(engine: Engine, capacity: Capacity) -> tuple[str, list[int], str, str, list[str]]:
    """A project and tasks of it that are held; another project; a key for both; people with passwords, who sign in."""
    with write_session(engine) as session:
        olga = factories.make_user(session, "Olga", owner=True)
        key = factories.make_key(session, olga.id, "admin", "annotate")
        guests = [factories.make_user(session, f"Guest{number}") for number in range(capacity.letting_in)]
        for guest in guests:
            guest.password_hash = hash_password(PASSWORD)
        project, free = factories.make_project(session), factories.make_project(session)
        tasks = [factories.make_task(session, session.get_one(Project, project.id)).id for _ in range(capacity.threads)]
        for seat in session.scalars(select(Seat).where(Seat.task_id.in_(tasks))):
            seat.state, seat.annotator_id = "leased", olga.id
            seat.claimed_at, seat.lease_until = utc_now(), utc_now() + timedelta(minutes=10)
        return project.slug, tasks, free.slug, key, [guest.email for guest in guests]


def _verdict() -> dict[str, str]:
    return {"client_id": str(uuid.uuid4()), "choice": "left"}


def _token(client: TestClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").text)
    assert found
    return found[1]


def _within(patience_s: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + patience_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def test_the_first_crowd_waits_for_no_connection_to_be_opened(engine: Engine) -> None:
    capacity = Capacity(3)
    own = make_engine(engine.url.render_as_string(hide_password=False), capacity)
    open_connections(own, capacity)
    opened: list[object] = []
    event.listen(own, "connect", lambda *made: opened.append(made))
    try:
        held = [own.connect() for _ in range(capacity.connections)]
        assert opened == []
        for connection in held:
            connection.close()
    finally:
        own.dispose()


def test_a_server_that_gives_fewer_for_the_moment_ends_no_start(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE few LOGIN CONNECTION LIMIT 5"))
    capacity = Capacity(3)
    theirs = make_engine(engine.url.set(username="few").render_as_string(hide_password=False), capacity)
    try:
        open_connections(theirs, capacity)
        assert isinstance(theirs.pool, QueuePool)
        assert (theirs.pool.checkedin(), theirs.pool.checkedout()) == (5, 0)
    finally:
        theirs.dispose()
        with engine.begin() as connection:
            connection.execute(text("DROP ROLE few"))
