"""Models outside: registered by the owner alone, by page and by key; an address and a key's variable are checked before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.contenders.outside.service import archive, uses
from app.contenders.service import name_outside
from app.database.engine import read_session, write_session
from app.models import AuditEntry, Contender, OutsideModel, Project, Run
from tests.app import factories
from tests.app.conftest import Cast

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1"
FORM = {
    "name": "GPT",
    "address": "https://api.example.org/v1/chat/completions",
    "model": "gpt-x",
    "key_variable": "EXAMPLE_API_KEY",
}


def test_the_owner_registers_a_model_and_takes_it_out_of_use(engine: Engine, as_user: AsUser) -> None:
    ada = as_user("Ada")
    made = ada.post("/outside-models", data=FORM | {"prompt_price": "2.5", "answer_price": "10"})
    assert (made.status_code, made.headers["location"]) == (303, "/outside-models")
    page = ada.get("/outside-models").text
    assert "https://api.example.org/v1" in page
    assert "/chat/completions" not in page.split("<form", 1)[0]
    assert "not set here" in page
    with read_session(engine) as session:
        model = session.scalars(select(OutsideModel)).one()
        assert (model.name, model.address, model.own_network) == ("GPT", "https://api.example.org/v1", False)
        assert (model.prompt_price, model.answer_price) == (2.5, 10.0)
    assert ada.post("/outside-models", data=FORM).status_code == 409, "the name is taken"
    assert ada.post(f"/outside-models/{model.id}/archive").status_code == 303
    assert ada.post("/outside-models", data=FORM).status_code == 303, "and free again"
    with read_session(engine) as session:
        noted = session.scalars(select(AuditEntry.action).where(AuditEntry.action.like("outside_model.%"))).all()
        assert noted == ["outside_model.registered", "outside_model.archived", "outside_model.registered"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": " "}, "name"),
        ({"model": ""}, "model"),
        ({"address": ""}, "address"),
        ({"address": "http://169.254.169.254/latest", "own_network": "on"}, "address"),
        ({"address": "http://localhost:11434/v1"}, "address"),
        ({"address": "https://me:pa55word@api.example.org/v1"}, "address"),
        ({"key_variable": "TASTEMAKER_DATABASE_URL"}, "key_variable"),
        ({"key_variable": "sk-12345"}, "key_variable"),
        ({"prompt_price": "2"}, "answer_price"),
        ({"prompt_price": "-1", "answer_price": "2"}, "prompt_price"),
        ({"prompt_price": "two", "answer_price": "2"}, "prompt_price"),
        ({"prompt_price": "nan", "answer_price": "2"}, "prompt_price"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(engine: Engine, as_user: AsUser, changed: dict[str, str], field: str) -> None:
    refused = as_user("Ada").post("/outside-models", data=FORM | changed)
    assert refused.status_code == 422
    assert f'id="{field}-error"' in refused.text
    with read_session(engine) as session:
        assert session.scalars(select(OutsideModel)).all() == []


def test_ones_own_network_is_asked_once_it_is_meant(as_user: AsUser) -> None:
    local = FORM | {"address": "http://localhost:11434/v1", "own_network": "on", "key_variable": ""}
    assert as_user("Ada").post("/outside-models", data=local).status_code == 303


def test_the_same_over_the_api_and_an_admin_sees_no_address(api: Api) -> None:
    ada, eve = api("admin", who="Ada"), api("admin", who="Eve")
    made = ada.post(f"{V1}/outside-models", json=FORM)
    assert (made.status_code, made.json()["address"]) == (201, "https://api.example.org/v1")
    assert ada.post(f"{V1}/outside-models", json=FORM | {"name": "x", "address": "ftp://x"}).status_code == 422
    (seen,) = eve.get(f"{V1}/outside-models").json()["items"]
    assert (seen["name"], seen["model"], seen["address"], seen["key_variable"], seen["use"]) == ("GPT", "gpt-x", None, None, None)
    assert eve.post(f"{V1}/outside-models", json=FORM).status_code == 403
    assert eve.delete(f"{V1}/outside-models/{seen['id']}").status_code == 403
    assert ada.delete(f"{V1}/outside-models/{seen['id']}").status_code == 204
    assert ada.delete(f"{V1}/outside-models/{seen['id']}").status_code == 204
    assert ada.delete(f"{V1}/outside-models/99").status_code == 404
    assert eve.get(f"{V1}/outside-models").json()["items"] == []
    assert len(ada.get(f"{V1}/outside-models").json()["items"]) == 1


def test_only_an_owner_sees_the_page(as_user: AsUser) -> None:
    for who in ("Grace", "Alan", "Mary"):
        browser = as_user(who)
        assert {browser.get("/outside-models").status_code, browser.post("/outside-models", data=FORM).status_code} == {403}


def test_what_was_asked_of_a_model_is_counted_over_all_projects(engine: Engine, cast: Cast) -> None:
    def asked(project_id: int, outside_id: int, result: dict[str, Any]) -> None:
        contender = Contender(project_id=project_id, kind="outside", name=f"m{outside_id}", outside_id=outside_id)
        session.add(contender)
        session.flush()
        factories.make_run(session, project_id, "ask", state="done", inputs={"contender": contender.id}, result=result)

    with write_session(engine) as session:
        first, second = factories.make_outside(session, "m1").id, factories.make_outside(session, "m2").id
        asked(cast.demo, first, {"prompt_tokens": 100, "answer_tokens": 20, "cost_usd": 0.5})
        asked(cast.other, first, {"prompt_tokens": 1, "answer_tokens": 2, "cost_usd": 0.25})
        asked(cast.demo, second, {})
        found = uses(session)
    assert (found[first].runs, found[first].prompt_tokens, found[first].answer_tokens) == (2, 101, 22)
    assert found[first].cost_usd == 0.75
    assert (found[second].prompt_tokens, found[second].cost_usd) == (0, None)


def test_who_takes_a_model_out_of_use_cancels_what_asks_it_in_any_project(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        model, other = factories.make_outside(session, "GPT"), factories.make_outside(session, "Other")
        states = {}
        for project_id in (cast.demo, cast.other):
            for one, state in ((model, "queued"), (model, "running"), (model, "done"), (other, "queued")):
                contender = name_outside(session, session.get_one(Project, project_id), one.id, None)
                run = factories.make_run(session, project_id, "ask", state=state, inputs={"contender": contender.id})
                states[run.id] = (one.name, state)
        archive(session, model.id, None)
        archive(session, model.id, None)
        found = {run.id: (run.state, run.cancel_requested_at is not None) for run in session.scalars(select(Run))}
    ends = {"queued": ("cancelled", True), "running": ("running", True), "done": ("done", False)}
    assert [found[run] for run in states] == [ends[state] if name == "GPT" else (state, False) for name, state in states.values()]
