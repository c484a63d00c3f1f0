"""A project is put away: read by its people, changed by nobody, and it comes back as it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict
from app.models import AuditEntry, Label, Project, Prompt, Run
from app.removal import archive
from app.rounds import service
from app.settings import Settings
from app.web.permissions import ALSO_ARCHIVED, RULES
from tests.app import factories
from tests.app.asked import noting
from tests.app.conftest import Cast
from tests.app.rounds.test_service import make_labels

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1"


def put_away(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        archive.archive(session, session.get_one(Project, cast.demo), cast.grace)


def test_it_leaves_the_lists_and_can_be_found_by_those_who_may_bring_it_back(
    as_user: As, api: Api, engine: Engine, cast: Cast
) -> None:
    put_away(engine, cast)
    assert "/projects/demo" not in as_user("Mary").get("/").text
    assert "/projects/archived" not in as_user("Mary").get("/").text
    assert [project["slug"] for project in api("annotate", who="Grace").get(f"{V1}/projects").json()["items"]] == []
    assert 'href="/projects/archived"' in as_user("Ada").get("/").text, "beside the one project that is left"
    for who, found in (("Ada", True), ("Grace", True), ("Alan", False), ("Eve", False)):
        assert ("/projects/demo/restore" in as_user(who).get("/projects/archived").text) is found, who


def test_nobody_is_asked_and_a_verdict_on_its_way_is_kept(as_user: As, api: Api, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(2):
            factories.make_task(session, project)
    mary = api("annotate", who="Mary")
    held = mary.post(f"{V1}/projects/demo/tasks/next").json()["id"]
    put_away(engine, cast)

    assert mary.post(f"{V1}/projects/demo/tasks/next").status_code == 204
    page = as_user("Mary").get("/projects/demo/annotate")
    assert "This project is archived" in page.text
    assert "data-task" not in page.text
    assert mary.get(f"{V1}/projects/demo/waiting").json()["reason"] == "archived"
    verdict = {"client_id": "11111111-1111-4111-8111-111111111111", "choice": "left"}
    assert mary.post(f"{V1}/tasks/{held}/label", json=verdict).status_code == 201
    with read_session(engine) as session:
        assert session.scalars(select(Label.task_id)).all() == [held]


def test_what_computes_for_it_is_cancelled_with_its_round(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        make_labels(session, project, 30, cast.mary)
        round_ = service.start_round(session, project, "admin", None)
        working = service.queue_run(session, project, "sample", {}, {}, None)
        working.state = "running"
        theirs = factories.make_run(session, cast.other, state="queued")
        session.flush()

        archive.archive(session, project, cast.grace)

        assert round_.state == "cancelled"
        states = [run.state for run in service.runs_of_round(session, round_.id)]
        assert (states, working.state, theirs.state) == (["cancelled"], "running", "queued")
        assert working.cancel_requested_at is not None
        with pytest.raises(Conflict, match="archived"):
            service.queue_run(session, project, "sample", {}, {}, None)
        with pytest.raises(Conflict, match="already"):
            archive.archive(session, project, cast.grace)


def test_it_is_read_and_not_changed(as_user: As, api: Api, engine: Engine, cast: Cast) -> None:
    put_away(engine, cast)
    grace = as_user("Grace")
    for page in ("", "/prompts", "/rounds", "/labels", "/export", "/settings", "/settings/removal", "/people"):
        reply = grace.get(f"/projects/demo{page}")
        assert reply.status_code == 200, page
        assert "This project is archived" in reply.text, page
    admin = api("admin", who="Grace")
    for method, path in (
        ("PATCH", "/projects/demo"),
        ("POST", "/projects/demo/prompts"),
        ("POST", "/projects/demo/generations"),
        ("POST", "/projects/demo/runs"),
        ("POST", "/projects/demo/rounds"),
    ):
        refused = admin.request(method, V1 + path, json={})
        assert refused.status_code == 409, path
        assert "This project is archived" in refused.json()["detail"]
    assert grace.post("/projects/demo/settings", data={"name": "X"}).status_code == 409
    assert api("admin", who="Ada").patch(f"{V1}/projects/demo", json={"overlap": 2}).status_code == 409, "the owner, too"
    assert grace.post(f"/projects/demo/people/{cast.mary}/removal").status_code == 303, "access is taken away all the same"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/projects/demo", {"overlap": 2}),
        ("PATCH", "/projects/demo", {"guidelines": "Other ones."}),
        ("POST", "/projects/demo/prompts", {"prompts": [{"text": "New?"}]}),
        ("POST", "/projects/demo/generations", {"items": [{"prompt_id": 1, "text": "Theirs.", "model": "gpt-x"}]}),
        ("POST", "/projects/demo/prompts/archive", {"ids": [1, 2, 3]}),
        ("POST", "/prompts/1/archive", {}),
        ("POST", "/projects/demo/invitations", {"role": "annotator"}),
    ],
)
def test_what_was_on_its_way_when_it_was_put_away_changes_nothing(
    api: Api, engine: Engine, cast: Cast, method: str, path: str, body: dict[str, Any]
) -> None:
    """The gate saw an open project; whoever archives it comes before the write."""
    with write_session(engine) as session:
        prompt_id = factories.make_prompt(session, cast.demo).id
    body = {name: [prompt_id] if name == "ids" else value for name, value in body.items()}
    admin = api("admin", who="Grace")
    let_in = threading.Event()

    def note(statement: str) -> None:
        if statement.startswith("SELECT") and "api_keys" in statement:  # who is it, and is their project open?
            let_in.set()

    with noting(engine, note), ThreadPoolExecutor(1) as thread:
        with write_session(engine) as session:
            on_its_way = thread.submit(admin.request, method, V1 + path.replace("/1/", f"/{prompt_id}/"), json=body)
            assert let_in.wait(10)
            archive.archive(session, session.get_one(Project, cast.demo), cast.grace)
            assert not on_its_way.done(), "it waits for its turn"
        reply = on_its_way.result(timeout=20)
    assert reply.status_code == 409, reply.text
    assert "This project is archived" in reply.json()["detail"]
    with read_session(engine) as session:
        assert session.scalars(select(AuditEntry.action).order_by(AuditEntry.id.desc())).first() == "project.archived"
        assert session.get_one(Prompt, prompt_id).archived_at is None
        assert session.get_one(Project, cast.demo).overlap == 1


def test_a_text_that_was_on_its_way_when_it_was_put_away_is_not_kept(
    app: FastAPI, engine: Engine, cast: Cast, settings: Settings
) -> None:
    """A long body arrives after the gate was asked, and may take minutes."""
    with write_session(engine) as session:
        bearer = {"authorization": f"Bearer {factories.make_key(session, cast.grace, 'admin')}"}

    async def slowly() -> AsyncIterator[bytes]:
        yield b"Once upon a time. " * 20_000  # more than is read before a place is taken
        with write_session(engine) as session:
            archive.archive(session, session.get_one(Project, cast.demo), cast.grace)
        yield b"The end."

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=bearer) as client:
            return await client.put(f"{V1}/projects/demo/texts/tales.txt", content=slowly())

    reply = asyncio.run(send())
    assert (reply.status_code, "This project is archived" in reply.text) == (409, True)
    assert not (settings.data / "texts" / "demo").exists()


def test_it_comes_back_as_it_was(as_user: As, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo))
    grace = as_user("Grace")
    assert grace.post("/projects/demo/archive").status_code == 303
    assert grace.post("/projects/demo/restore").headers["location"] == "/projects/demo"
    assert "data-task" in as_user("Mary").get("/projects/demo/annotate").text
    with read_session(engine) as session:
        told = session.execute(select(AuditEntry.action, AuditEntry.actor_id).where(AuditEntry.project_id == cast.demo)).all()
    assert told[-2:] == [("project.archived", cast.grace), ("project.restored", cast.grace)]


def test_a_program_does_it_too(api: Api, cast: Cast) -> None:
    admin = api("admin", who="Grace")
    put = admin.post(f"{V1}/projects/demo/archive")
    assert put.status_code == 200, put.text
    assert put.json()["slug"] == "demo"
    assert put.json()["archived_at"] is not None
    assert admin.post(f"{V1}/projects/demo/archive").status_code == 409
    assert admin.post(f"{V1}/projects/demo/restore").json() == {"slug": "demo", "archived_at": None}


def test_a_queued_run_of_a_project_put_away_is_not_taken(engine: Engine, cast: Cast) -> None:
    put_away(engine, cast)
    with read_session(engine) as session:
        assert session.scalars(select(Run).where(Run.state == "queued")).all() == []


def test_what_may_still_change_is_a_decision() -> None:
    """Written out: what is added to the API is refused in an archived project unless it stands here."""
    assert set(RULES) >= ALSO_ARCHIVED
    assert sorted({path.removeprefix(V1) for method, path in ALSO_ARCHIVED if method != "GET" and "{" in path}) == [
        "/account/keys/{id}/revocation",
        "/chats/{id}/choice",
        "/evaluations/{id}/cancel",
        "/outside-models/{id}",
        "/people/{id}/second-factor/removal",
        "/projects/{slug}",
        "/projects/{slug}/annotate/next",
        "/projects/{slug}/annotators/{id}/exclusion",
        "/projects/{slug}/annotators/{id}/exclusion/removal",
        "/projects/{slug}/archive",
        "/projects/{slug}/contenders/{id}",
        "/projects/{slug}/deletion",
        "/projects/{slug}/gold/{id}",
        "/projects/{slug}/guidelines/seen",
        "/projects/{slug}/invitations/{id}",
        "/projects/{slug}/invitations/{id}/revocation",
        "/projects/{slug}/people/{id}",
        "/projects/{slug}/people/{id}/removal",
        "/projects/{slug}/people/{id}/role",
        "/projects/{slug}/restore",
        "/projects/{slug}/tasks/next",
        "/rounds/{id}/cancel",
        "/runs/{id}/cancel",
        "/tasks/{id}/label",
        "/tasks/{id}/renew",
        "/tasks/{id}/return",
        "/tasks/{id}/skip",
        "/tasks/{id}/withdraw",
        "/users/{id}/ownership",
        "/users/{id}/second-factor",
        "/v1/feedback/{client_id}",
        "/webhooks/{id}",
        "/webhooks/{id}/removal",
    ]
