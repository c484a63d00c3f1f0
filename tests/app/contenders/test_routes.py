"""The page of contenders: what is listed, picking a model outside, and having it answer."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.contenders.service import contender_of
from app.database.engine import read_session, write_session
from app.models import AuditEntry, Checkpoint, Contender, OutsideModel, Project, Run, utc_now
from tests.app import factories
from tests.app.conftest import Cast

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1"


def test_an_admin_picks_a_model_once_and_has_it_answer(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    with write_session(engine) as session:
        outside = factories.make_outside(session, "GPT").id
        session.get_one(Project, cast.demo).sampling = {"max_new_tokens": 33, "temperature": 0.4, "per_prompt": 3}
        for _ in range(3):
            factories.make_prompt(session, cast.demo)
    grace = as_user("Grace")
    assert f'<option value="{outside}">GPT</option>' in grace.get("/projects/demo/contenders").text
    for _ in range(2):
        assert grace.post("/projects/demo/contenders", data={"outside": outside}).status_code == 303
    with read_session(engine) as session:
        contender = session.scalars(select(Contender).where(Contender.outside_id == outside)).one()
    page = grace.get("/projects/demo/contenders").text
    assert "Ask it" in page
    assert "Pick it" not in page
    asked = grace.post("/projects/demo/contenders/answers", data={"contender": contender.id, "split": "train", "per_prompt": "2"})
    with read_session(engine) as session:
        run = session.scalars(select(Run).where(Run.kind == "ask")).one()
    assert asked.headers["location"] == f"/runs/{run.id}"
    assert run.inputs == {"contender": contender.id, "split": "train"}
    assert (run.config["per_prompt"], run.config["max_new_tokens"], run.config["temperature"]) == (2, 33, 0.4), "as ours"
    assert "Asking a model outside" in grace.get(f"/runs/{run.id}").text


def test_what_cannot_be_asked_is_said(engine: Engine, cast: Cast, as_user: AsUser, api: Api) -> None:
    with write_session(engine) as session:
        outside = factories.make_outside(session, "GPT").id
        theirs = Contender(project_id=cast.other, kind="outside", name="GPT", outside_id=outside)
        session.add(theirs)
        session.flush()
        other, imported = theirs.id, factories.make_stranger(session, cast.demo, "GPT").id
        factories.make_prompt(session, cast.demo)
    grace, key = as_user("Grace"), api("admin", who="Grace")
    assert "is called GPT already" in grace.post("/projects/demo/contenders", data={"outside": outside}).text
    assert grace.post("/projects/demo/contenders", data={"outside": 99}).status_code == 422
    for wrong in (other, imported, 99, "x", None):
        answer = key.post(f"{V1}/projects/demo/runs", json={"kind": "ask", "config": {"contender": wrong}})
        assert answer.status_code == 422, wrong
    words = {"contender": str(other), "split": "train", "per_prompt": "1"}
    assert grace.post("/projects/demo/contenders/answers", data=words).status_code == 422


def test_one_that_is_out_of_use_is_asked_no_more(engine: Engine, cast: Cast, api: Api, as_user: AsUser) -> None:
    with write_session(engine) as session:
        outside = factories.make_outside(session, "GPT").id
        factories.make_prompt(session, cast.demo)
    key = api("admin", who="Grace")
    made = key.post(f"{V1}/projects/demo/contenders", json={"outside": outside}).json()
    assert (made["kind"], made["name"], made["outside_id"]) == ("outside", "GPT", outside)
    with write_session(engine) as session:
        session.get_one(OutsideModel, outside).archived_at = utc_now()
    refused = key.post(f"{V1}/projects/demo/runs", json={"kind": "ask", "config": {"contender": made["id"]}})
    assert (refused.status_code, "is asked no more" in refused.text) == (422, True)
    assert "asked no more" in as_user("Grace").get("/projects/demo/contenders").text


def test_a_reviewer_looks_and_an_annotator_does_not(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_stranger(session, cast.demo, "gpt-x")
    page = as_user("Alan").get("/projects/demo/contenders")
    assert (page.status_code, "gpt-x" in page.text, "Import answers" in page.text) == (200, True, False)
    assert as_user("Mary").get("/projects/demo/contenders").status_code == 403
    assert as_user("Alan").post("/projects/demo/contenders", data={"outside": 1}).status_code == 403


def test_one_that_was_named_by_mistake_is_put_away_and_comes_back(engine: Engine, cast: Cast, as_user: AsUser, api: Api) -> None:
    with write_session(engine) as session:
        outside = factories.make_outside(session, "GPT").id
        ours = contender_of(session, session.get_one(Checkpoint, session.get_one(Project, cast.demo).policy_id)).id
        imported = factories.make_stranger(session, cast.demo, "gpt-x").id
        factories.make_prompt(session, cast.demo, split="holdout")
    grace, key, here = as_user("Grace"), api("admin", who="Grace"), "/projects/demo/contenders"
    grace.post(here, data={"outside": outside})
    with read_session(engine) as session:
        picked = session.scalars(select(Contender.id).where(Contender.outside_id == outside)).one()
    assert f'value="outside:{picked}"' in grace.get("/projects/demo/playground").text

    assert grace.post(f"{here}/{picked}/archive").status_code == 303
    assert key.delete(f"{V1}{here}/{imported}").json()["archived_at"] is not None
    assert key.delete(f"{V1}{here}/{imported}").status_code == 200, "twice is once"
    page = grace.get(here).text
    assert ("put away" in page, "Ask it" in page, "Pick it" in page) == (True, False, True)
    choices = grace.get("/projects/demo/evaluations").text
    assert f'value="{picked}"' not in choices
    assert f'value="{imported}"' not in choices
    assert f'value="outside:{picked}"' not in grace.get("/projects/demo/playground").text
    refused = key.post(f"{V1}/projects/demo/evaluations", json={"candidates": [imported]})
    asked = key.post(f"{V1}/projects/demo/runs", json={"kind": "ask", "config": {"contender": picked}})
    assert (refused.status_code, asked.status_code, "put away" in asked.text) == (422, 422, True)
    assert key.delete(f"{V1}{here}/{ours}").status_code == 409
    assert key.delete(f"{V1}/projects/other/contenders/{imported}").status_code in (403, 404)
    assert as_user("Alan").post(f"{here}/{picked}/archive").status_code == 403

    assert grace.post(f"{here}/{picked}/restore").status_code == 303
    assert key.post(f"{V1}{here}", json={"name": "gpt-x"}).json()["archived_at"] is None, "who names it again wants it"
    assert "Ask it" in grace.get(here).text
    with read_session(engine) as session:
        noted = session.scalars(select(AuditEntry.action).where(AuditEntry.project_id == cast.demo).order_by(AuditEntry.id)).all()
    assert [one for one in noted if one.startswith("contender.")] == [
        "contender.added",
        "contender.archived",
        "contender.archived",
        "contender.restored",
        "contender.restored",
    ]
