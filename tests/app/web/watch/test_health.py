"""Health tells what nobody can store in, and liveness only that the process answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event, text
from starlette.testclient import TestClient

from app.database.failures import FULL, GONE, READ_ONLY
from app.language.languages import known, use
from app.settings import Settings
from app.web.watch import health
from tests.failing_disk import full_disk
from trainer.contract.folder import A_PAGE

Api = Callable[..., TestClient]
PERSON = {"name": "Robot", "email": "robot@example.org", "projects": ["demo"]}


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", -1.0)


def told(reply: Any) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.status_code, reply.json()["detail"]


def test_health_writes_into_the_database_and_into_the_data_folder(
    engine: Engine, settings: Settings, visitor: TestClient
) -> None:
    log = settings.data / "tastemaker.db-wal"
    assert visitor.get("/api/v1/health").status_code == 200
    before, names = log.stat().st_size, sorted(settings.data.iterdir())
    assert visitor.get("/api/v1/health").status_code == 200
    assert log.stat().st_size > before
    assert sorted(settings.data.iterdir()) == names


def test_a_database_that_can_only_be_read_is_told(engine: Engine, api: Api, cast: object, visitor: TestClient) -> None:
    program = api("admin")

    def only_read(connection: Any, *more: Any) -> None:
        connection.execute("PRAGMA query_only=ON")

    event.listen(engine, "checkout", only_read)
    assert told(visitor.get("/api/v1/health")) == (503, READ_ONLY)
    assert told(program.post("/api/v1/users", json=PERSON)) == (503, READ_ONLY)
    event.remove(engine, "checkout", only_read)


def test_a_full_database_is_told_and_no_verdict_of_it_is_lost(
    engine: Engine, api: Api, cast: object, visitor: TestClient
) -> None:
    program = api("admin")

    def no_more_pages(connection: Any, *more: Any) -> None:
        connection.execute("PRAGMA max_page_count=1")  # never less than there are

    event.listen(engine, "checkout", no_more_pages)
    statuses = [program.post("/api/v1/users", json={**PERSON, "email": f"{n}@example.org"}) for n in range(100)]
    event.remove(engine, "checkout", no_more_pages)
    assert {reply.status_code for reply in statuses} == {201, 503}
    assert told(statuses[-1]) == (503, FULL)
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT count(*) FROM users WHERE name = 'Robot'")).scalar_one()
    assert stored == sum(reply.status_code == 201 for reply in statuses)


def test_a_full_disk_is_told_though_the_database_still_has_room(visitor: TestClient) -> None:
    with full_disk(A_PAGE - 1):
        status, detail = told(visitor.get("/api/v1/health"))
    assert (status, detail) == (503, FULL)
    assert visitor.get("/api/v1/health").status_code == 200


@pytest.mark.parametrize("what", ["the folder", "the database"])
def test_what_is_deleted_under_the_process_takes_no_verdict(
    what: str, settings: Settings, api: Api, cast: object, visitor: TestClient, client: TestClient
) -> None:
    """SQLite would go on in a file that nobody finds again, or make a new one."""
    program = api("admin")
    assert visitor.get("/api/v1/health").status_code == 200
    if what == "the folder":
        shutil.rmtree(settings.data)
    else:
        (settings.data / "tastemaker.db").unlink()
    assert told(visitor.get("/api/v1/health")) == (503, GONE)
    assert told(program.post("/api/v1/users", json=PERSON)) == (503, GONE)
    page = client.post("/account/profile", data={"name": "Ada L.", "csrf_token": client.headers["x-csrf-token"]})
    assert page.status_code == 503
    assert GONE in page.text
    assert not (settings.data / "tastemaker.db").exists()


def test_it_is_told_in_the_readers_language(settings: Settings, visitor: TestClient) -> None:
    shutil.rmtree(settings.data)
    visitor.headers["accept-language"] = "zh-Hant"
    use("zh-Hant")
    sentence = known(GONE)
    use("en")
    assert sentence != GONE
    assert told(visitor.get("/api/v1/health")) == (503, sentence)


def test_liveness_needs_neither_database_nor_folder(app: FastAPI, settings: Settings, visitor: TestClient) -> None:
    shutil.rmtree(settings.data)
    reply = visitor.get("/api/v1/health/live")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})
