"""Two projects may not have one name, and where two come at the same moment, the database says which."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.errors import Conflict
from app.models import Project
from app.models.values import name_digest
from app.projects import naming
from app.projects.service import ProjectValues, create_project, update_project
from tests.app.conftest import Cast

ALIKE = ["Poems", "poems", "  POEMS ", "Po\u200bems", "\ufeffPoems", "Ｐｏｅｍｓ", "Poems\u202e"]
OTHERS = ["Poem", "Poems 2", "P oems", "詩"]


def made(session: Session, name: str = "Poems") -> Project:
    filled: ProjectValues = {"name": name, "base_model": "org/model"}
    return create_project(session, filled, by=None)


@pytest.mark.parametrize("name", ALIKE)
def test_a_name_that_reads_like_another_is_refused_at_its_field(engine: Engine, name: str) -> None:
    with write_session(engine) as session:
        made(session)
        with pytest.raises(Conflict) as refusal:
            made(session, name)
        assert "Another project has this name" in refusal.value.fields["name"]


@pytest.mark.parametrize("name", OTHERS)
def test_another_name_is_free(engine: Engine, name: str) -> None:
    with write_session(engine) as session:
        made(session)
        assert made(session, name).name == name


def test_a_project_is_not_renamed_to_the_name_of_another_but_may_keep_its_own(engine: Engine) -> None:
    with write_session(engine) as session:
        made(session)
        other = made(session, "Letters")
        with pytest.raises(Conflict) as refusal:
            update_project(session, other, {"name": "poems"}, by=None)
        assert list(refusal.value.fields) == ["name"]
        assert other.name == "Letters"
        assert update_project(session, other, {"name": "LETTERS"}, by=None).name == "LETTERS"


def test_of_two_that_come_at_the_same_moment_one_is_told_so(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on PostgreSQL, where another transaction stores the name after we have looked."""
    seen: list[str] = []

    def look(session: Session, name: str, besides: Project | None = None) -> None:
        if not seen:
            seen.append(name)
            session.execute(update(Project).where(Project.id == cast.other).values(name=name, name_digest=name_digest(name)))
            return
        really(session, name, besides)

    really = naming.check_free
    monkeypatch.setattr(naming, "check_free", look)
    with write_session(engine) as session, pytest.raises(Conflict) as refusal:
        made(session)
    assert list(refusal.value.fields) == ["name"]


def test_a_name_of_nothing_one_sees_is_none(engine: Engine, client: TestClient) -> None:
    reply = client.post("/projects", data={"name": "\u200b \u2060", "base_model": "org/model"})
    assert reply.status_code == 422
    assert "Give the project a name." in reply.text


def test_pages_and_calls_say_it_at_the_field(client: TestClient, api: Callable[..., TestClient]) -> None:
    page = client.post("/projects", data={"name": "demo ", "base_model": "org/model"})
    assert page.status_code == 409
    assert 'id="name-error"' in page.text
    assert "Another project has this name" in page.text

    renamed = client.post("/projects/other/settings", data={"name": "DEMO", "base_model": "org/model"})
    assert "Another project has this name" in renamed.text

    call = api("admin").post("/api/v1/projects", json={"name": "DeMo", "base_model": "org/model"})
    assert call.status_code == 409
    assert [error["field"] for error in call.json()["errors"]] == ["name"]
