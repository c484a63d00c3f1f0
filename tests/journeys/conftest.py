"""A real browser against a real server on a port of its own; the cast and the database are those of tests/app."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine

from app.database.engine import write_session
from app.settings import Settings
from app.web.security import session_cookie
from bench.browser import running_chromium
from tests.app import factories
from tests.app.conftest import Cast, api, app, built_app, cast, empty_database, engine, settings

__all__ = ["api", "app", "built_app", "cast", "empty_database", "engine", "settings"]

Open = Callable[..., Page]


@pytest.fixture(scope="module")  # no longer: its event loop would be in the way of the tests that come after
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    """Where the application of this test answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def open_as(chromium: Browser, address: str, engine: Engine, settings: Settings, cast: Cast) -> Iterator[Open]:
    """`open_as("Ada", color_scheme="dark")`: a page of a browser in which that person is signed in; None is a visitor."""
    contexts = []

    def make(who: str | None, **how: object) -> Page:
        context = chromium.new_context(base_url=address, **how)  # type: ignore[arg-type]
        contexts.append(context)
        if who is not None:
            with write_session(engine) as session:
                secret = factories.make_sign_in(session, cast.named(who))
            context.add_cookies([{"name": session_cookie(settings), "value": secret, "url": address}])
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
