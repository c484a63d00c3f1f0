"""A real SQLite file per test, and a recurring cast: Ada owns the installation, Grace is admin of the project `demo`,
Alan its reviewer, Mary its annotator, and Eve is admin of another project, `other`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import sqlite_module, write_session
from app.database.upgrade import upgrade_to_head
from app.main import connect, create_app
from app.models import Project
from app.settings import Settings
from app.web.security import Role, session_cookie, token_of
from tests.app import factories

CAST: dict[str, Role | None] = {"Ada": None, "Grace": "admin", "Alan": "reviewer", "Mary": "annotator", "Eve": None}


@contextmanager
def another_process_writes(engine: Engine) -> Iterator[None]:
    """Inside, the writer's lock of the SQLite file is somebody else's."""
    with closing(sqlite_module().connect(engine.url.database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@dataclass(frozen=True)
class Cast:
    """Ids by name."""

    ada: int
    grace: int
    alan: int
    mary: int
    eve: int
    demo: int  # the project of Grace, Alan and Mary
    other: int  # Eve's project

    def named(self, name: str) -> int:
        user_id: int = getattr(self, name.lower())
        return user_id


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with every table and no rows, copied for each test."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    upgrade_to_head(f"sqlite:///{path}")
    return path


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    shutil.copy(empty_database, tmp_path / "tastemaker.db")
    return Settings(data=tmp_path)


@pytest.fixture(scope="session")
def built_app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The application, built once: that takes a good part of a second."""
    return create_app(Settings(data=tmp_path_factory.mktemp("unused")))


@pytest.fixture
def app(built_app: FastAPI, settings: Settings) -> Iterator[FastAPI]:
    """The application on a database of this test's own."""
    connect(built_app, settings)
    built_app.state.refuse_unusable_model = lambda _spec: (
        None
    )  # these projects' models are names; test_base_model.py opens real ones
    yield built_app
    built_app.state.engine.dispose()


@pytest.fixture
def engine(app: FastAPI) -> Engine:
    engine: Engine = app.state.engine
    return engine


@pytest.fixture
def cast(engine: Engine) -> Cast:
    with write_session(engine) as session:
        ids = {name.lower(): factories.make_user(session, name, owner=name == "Ada").id for name in CAST}
        demo = factories.make_project(session, "demo", name="Demo")
        other = factories.make_project(session, "other", name="Other")
        for name, role in CAST.items():
            if role is not None:
                factories.make_membership(session, ids[name.lower()], demo.id, role)
        factories.make_membership(session, ids["eve"], other.id, "admin")
        return Cast(**ids, demo=demo.id, other=other.id)


@pytest.fixture
def session(engine: Engine, cast: Cast) -> Iterator[Session]:
    """One that writes, once the cast is there."""
    with write_session(engine) as session:
        yield session


@pytest.fixture
def demo(session: Session, cast: Cast) -> Project:
    """The project `demo`, live in that session."""
    return session.get_one(Project, cast.demo)


@pytest.fixture
def project(engine: Engine, cast: Cast) -> Project:
    """The project `demo`, detached: its values, not a live row."""
    with write_session(engine) as session:
        found = session.get(Project, cast.demo)
        assert found is not None
        session.expunge(found)
        return found


@pytest.fixture
def visitor(app: FastAPI) -> TestClient:
    """A browser that is not signed in. Redirects are returned, not followed."""
    return _browser(app)


@pytest.fixture
def sign_in(app: FastAPI, engine: Engine, settings: Settings) -> Callable[[int], TestClient]:
    """`sign_in(user_id)`: a browser signed in as that person, whose scripts know the form token."""

    def make(user_id: int) -> TestClient:
        with write_session(engine) as session:
            secret = factories.make_sign_in(session, user_id)
        browser = _browser(app)
        browser.cookies.set(session_cookie(settings), secret)
        browser.headers["x-csrf-token"] = token_of(secret)
        return browser

    return make


@pytest.fixture
def as_user(sign_in: Callable[[int], TestClient], cast: Cast) -> Callable[[str], TestClient]:
    """`as_user("annotator")` or `as_user("Mary")`: a signed-in browser of one of the cast; "owner" is Ada."""
    names: dict[str, str] = {"owner": "Ada", **{role: name for name, role in CAST.items() if role is not None}}

    def make(who: str) -> TestClient:
        return sign_in(cast.named(names.get(who, who)))

    return make


@pytest.fixture
def client(as_user: Callable[[str], TestClient]) -> TestClient:
    """A browser signed in as Ada, the owner."""
    return as_user("owner")


@pytest.fixture
def api(app: FastAPI, engine: Engine, cast: Cast) -> Callable[..., TestClient]:
    """`api("annotate", who="Mary")`: a program with one of that person's keys; without `who`, Ada's."""

    def make(*scopes: str, who: str = "Ada") -> TestClient:
        with write_session(engine) as session:
            key = factories.make_key(session, cast.named(who), *scopes)
        program = _browser(app)
        program.headers["authorization"] = f"Bearer {key}"
        return program

    return make


def _browser(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=False)
