"""A project is deleted for good by somebody who typed its name and was told what goes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid
from app.models import AuditEntry, Label, Project, Run, User
from app.projects.service import create_project
from app.removal import deletion
from app.removal.deletion import Consequences
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.removal.whole import delete, fill

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1"


@pytest.fixture
def data(settings: Settings) -> Path:
    return settings.data.resolve()


@pytest.fixture
def filled(engine: Engine, cast: Cast, data: Path) -> None:
    with write_session(engine) as session:
        fill(session, session.get_one(Project, cast.demo), cast.mary, data)


def seen(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_consequences_are_said_first(as_user: As, api: Api, filled: None) -> None:
    page = seen(as_user("Grace").get("/projects/demo/settings/removal").text)
    assert "People who lose it 3 Prompts 4 Answers of models 7 Labels 4 Checkpoints 3 Folders of runs 8, 821 bytes" in page
    assert api("admin", who="Grace").get(f"{V1}/projects/demo/consequences").json() == {
        "people": 3,
        "prompts": 4,
        "answers": 7,
        "labels": 4,
        "checkpoints": 3,
        "live_runs": 0,
        "folders": 8,
        "octets": 821,
    }


@pytest.mark.parametrize("typed", ["", "Dem", "other", "/projects/demo"])
def test_without_its_name_nothing_is_deleted(as_user: As, api: Api, engine: Engine, cast: Cast, typed: str) -> None:
    refused = as_user("Grace").post("/projects/demo/deletion", data={"name": typed})
    assert refused.status_code == 422
    assert "Type “Demo” to delete it." in refused.text
    call = api("admin", who="Grace").request("DELETE", f"{V1}/projects/demo", json={"name": typed})
    assert (call.status_code, call.json()["errors"][0]["field"]) == (422, "name")
    assert as_user("Grace").get("/projects/demo").status_code == 200


def test_it_does_not_exist_for_anybody_from_then_on(as_user: As, api: Api, engine: Engine, cast: Cast, filled: None) -> None:
    with read_session(engine) as session:
        label = session.scalars(select(Label).where(Label.current)).first()
        run = session.scalars(select(Run)).first()
        assert label is not None
        assert run is not None
    key = api("admin", who="Grace")
    gone = as_user("Grace").post("/projects/demo/deletion", data={"name": "demo"})
    assert (gone.status_code, gone.headers["location"]) == (303, "/")

    for who in ("Grace", "Mary", "Ada"):
        browser = as_user(who)
        for page in ("/projects/demo", f"/labels/{label.id}", f"/runs/{run.id}", "/projects/demo/settings/removal"):
            assert browser.get(page).status_code == 404, (who, page)
        assert "/projects/demo" not in browser.get("/").text
        assert "/projects/demo" not in browser.get("/projects/archived").text
    assert key.get(f"{V1}/projects/demo").status_code == 404
    assert key.post(f"{V1}/tasks/{label.task_id}/label", json={"client_id": "x"}).status_code == 404
    assert key.post(f"{V1}/projects/demo/restore").status_code == 404


def test_the_audit_trail_keeps_that_it_was_there(as_user: As, engine: Engine, cast: Cast, filled: None) -> None:
    as_user("Grace").post("/projects/demo/deletion", data={"name": "Demo"})
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "project.deleted")).one()
    assert (entry.actor_id, entry.subject, entry.project_id) == (cast.grace, "demo", cast.demo)
    assert entry.details == {"name": "Demo", "prompts": 4, "labels": 4, "checkpoints": 3}


def test_nobody_waits_while_it_is_counted_what_goes_with_a_project(
    as_user: As, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(session: Session, folder: Path, project: Project) -> Consequences:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(rename, engine, cast.mary).result(5)  # somebody else writes meanwhile
        return really(session, folder, project)

    really = deletion.consequences
    monkeypatch.setattr(deletion, "consequences", count)
    assert as_user("Grace").post("/projects/demo/deletion", data={"name": "Demo"}).status_code == 303
    with read_session(engine) as session:
        assert session.get_one(User, cast.mary).name == "Mary II"


def rename(engine: Engine, user_id: int) -> None:
    with write_session(engine) as session:
        session.get_one(User, user_id).name = "Mary II"


def test_its_name_is_free_at_once_and_its_id_never(engine: Engine, cast: Cast, data: Path) -> None:
    with write_session(engine) as session:
        other = session.get_one(Project, cast.other)
        delete(session, data, other, "Other", cast.eve)
        again = create_project(session, {"name": "Other", "base_model": "org/model"}, by=None)
        assert again.id > other.id
        assert again.slug == "other-2", "the address is free once everything is taken out"


def test_what_computes_for_it_is_cancelled(engine: Engine, cast: Cast, data: Path) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        queued, working = (factories.make_run(session, demo.id, state=state) for state in ("queued", "running"))
        taken = delete(session, data, demo, "Demo", cast.grace)
        assert taken.live_runs == 2
        assert queued.state == "cancelled"
        assert working.cancel_requested_at is not None


def test_a_project_whose_model_another_one_stands_on_stays(engine: Engine, cast: Cast, data: Path) -> None:
    with write_session(engine) as session:
        demo, other = session.get_one(Project, cast.demo), session.get_one(Project, cast.other)
        run = factories.make_run(session, demo.id, "ppo")
        other.base_model = str(data / "runs" / str(run.id) / "export")
        with pytest.raises(Conflict, match=f"run {run.id}"):
            delete(session, data, demo, "Demo", cast.grace)
        assert demo.deleted_at is None
        delete(session, data, other, "Other", cast.eve)
        delete(session, data, demo, "Demo", cast.grace)


def test_an_archived_project_can_be_deleted_and_a_deleted_one_not_twice(
    engine: Engine, cast: Cast, as_user: As, data: Path
) -> None:
    grace = as_user("Grace")
    grace.post("/projects/demo/archive")
    assert grace.post("/projects/demo/deletion", data={"name": "Demo"}).status_code == 303
    with write_session(engine) as session, pytest.raises(Invalid):
        delete(session, data, session.get_one(Project, cast.demo), "Demo", None)


def test_a_program_deletes_with_the_name_repeated(api: Api, cast: Cast, filled: None) -> None:
    admin = api("admin", who="Grace")
    body = json.dumps({"name": "Demo"})
    gone = admin.request("DELETE", f"{V1}/projects/demo", content=body, headers={"content-type": "application/json"})
    assert gone.status_code == 202, gone.text
    assert (gone.json()["prompts"], gone.json()["labels"]) == (4, 4)
    assert admin.request("DELETE", f"{V1}/projects/demo", json={"name": "Demo"}).status_code == 404
