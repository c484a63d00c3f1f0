"""`/v1/feedback`: once under its id, about an answer of ours, with the texts of those alone who agree, and taken back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Feedback, KeptAnswer, Label, Project, utc_now
from app.serving.kept_answers import keep
from app.serving.live_models import Live
from app.serving.warm_process import Answer
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.serving.questions import Models, Turn, Writing

Api = Callable[..., TestClient]
ASKED = [{"role": "user", "content": "Is the moon far?"}]


def feedback(**values: Any) -> dict[str, Any]:
    said = {
        "client_id": str(uuid.uuid4()),
        "model": "demo",
        "messages": ASKED,
        "answer": "Very.",
        "thumb": "down",
        "consent": True,
    }
    return {name: value for name, value in (said | values).items() if value is not None}


def all_of_it(engine: Engine) -> list[Feedback]:
    with read_session(engine) as session:
        return list(session.scalars(select(Feedback).order_by(Feedback.id)))


def test_it_is_kept_once_under_its_id_and_is_no_label(api: Api, engine: Engine, cast: Cast) -> None:
    program, body = api("generate", who="Alan"), feedback(correction="384,400 km.", comment="Be exact.")
    first = program.post("/v1/feedback", json=body)
    assert (first.status_code, first.json()["state"], first.json()["object"]) == (201, "waiting", "feedback")
    again = program.post("/v1/feedback", json=body)
    assert (again.status_code, again.json()) == (200, first.json())
    other = program.post("/v1/feedback", json=body | {"comment": "Something else."})
    assert (other.status_code, "Something else was said" in other.text) == (409, True)
    (kept,) = all_of_it(engine)
    assert (kept.given_by, kept.project_id, kept.messages, kept.text) == (cast.alan, cast.demo, ASKED, "Very.")
    assert (kept.thumb, kept.correction, kept.comment, kept.answer_id) == ("down", "384,400 km.", "Be exact.", None)
    with read_session(engine) as session:
        assert session.scalars(select(Label)).all() == [], "kept apart until an admin lets it in"


def test_the_same_send_again_is_the_same_though_another_policy_answers_by_now(api: Api, engine: Engine, cast: Cast) -> None:
    program, body = api("generate", who="Alan"), feedback()
    first = program.post("/v1/feedback", json=body)
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        before, demo.policy_id = demo.policy_id, factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id).id
    again = program.post("/v1/feedback", json=body)
    assert (again.status_code, again.json()) == (200, first.json())
    assert [one.policy_id for one in all_of_it(engine)] == [before], "it is about who answered then"


def test_of_whoever_does_not_agree_the_thumb_alone_is_kept(api: Api, engine: Engine, cast: Cast) -> None:
    given = api("generate", who="Alan").post(
        "/v1/feedback", json=feedback(consent=False, correction="Mine.", comment="Mine too.")
    )
    assert (given.status_code, given.json()["state"]) == (201, "counted")
    (kept,) = all_of_it(engine)
    assert (kept.thumb, kept.messages, kept.text, kept.correction, kept.comment) == ("down", None, None, None, "")
    assert api("admin", who="Grace").get("/api/v1/projects/demo/feedback").json()["items"] == []


def test_an_answer_that_was_kept_is_named_by_its_completion(api: Api, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        policy = session.get_one(Project, cast.demo).policy_id
        writing = Writing(Models("models/tiny", "", "2026-01-01"), [Turn(role="user", content="Far?")], 64, 1.0, 1.0, [7, 8])
        answers = [Answer("Near.", "eos", 2, [1, 2]), Answer("Far.", "length", 2, [3, 4])]
        keep(session, cast.demo, Live(writing.models, policy, None), "chatcmpl-1", writing, answers, cast.alan)
    named = feedback(model=None, messages=None, answer=None, completion_id="chatcmpl-1", index=1, thumb="up")
    program = api("generate", who="Alan")
    assert program.post("/v1/feedback", json=named).status_code == 201
    (kept,) = all_of_it(engine)
    assert (kept.text, kept.messages) == ("Far.", [{"role": "user", "content": "Far?"}])
    with read_session(engine) as session:
        stored = session.get_one(KeptAnswer, kept.answer_id)
        assert (stored.seed, stored.token_ids, stored.finish_reason, stored.kept_by) == (8, [3, 4], "length", cast.alan)
    assert program.post("/v1/feedback", json=named | {"client_id": str(uuid.uuid4()), "index": 2}).status_code == 404
    assert api("generate", who="Eve").post("/v1/feedback", json=named).status_code == 404, "another's project"


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": None},
        {"completion_id": "chatcmpl-1"},
        {"thumb": "sideways"},
        {"thumb": "up", "correction": "But so."},
        {"consent": None},
        {"client_id": "mine"},
        {"answer": ""},
        {"answer": " \u200b\n"},
        {"answer": "x" * 20_001},
        {"answer": "x" * 20_001, "consent": False},
        {"messages": [{"role": "assistant", "content": "Nobody asked."}]},
    ],
)
def test_what_is_about_no_answer_of_ours_is_refused(api: Api, engine: Engine, cast: Cast, wrong: dict[str, Any]) -> None:
    refused = api("generate", who="Alan").post("/v1/feedback", json=feedback(**wrong))
    assert (refused.status_code, "error" in refused.json()) == (400, True), "as OpenAI refuses"
    assert all_of_it(engine) == []


def test_it_needs_the_scope_and_a_project_whose_models_one_may_ask(api: Api, engine: Engine, cast: Cast) -> None:
    assert api("annotate", who="Alan").post("/v1/feedback", json=feedback()).status_code == 403
    assert api("generate", who="Mary").post("/v1/feedback", json=feedback()).status_code == 404, "who annotates asks no model"
    assert api("generate", who="Alan").post("/v1/feedback", json=feedback(model="nowhere")).status_code == 404
    assert api("generate", who="Alan").post("/v1/feedback", json=feedback(model="demo@999")).status_code == 404
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).archived_at = utc_now()
    assert api("generate", who="Alan").post("/v1/feedback", json=feedback()).status_code == 404
    assert all_of_it(engine) == []


def test_who_gave_it_takes_it_back(api: Api, engine: Engine, cast: Cast) -> None:
    body = feedback(correction="So.")
    api("generate", who="Alan").post("/v1/feedback", json=body)
    there = f"/v1/feedback/{body['client_id']}"
    assert api("generate", who="Grace").delete(there).status_code == 404, "it is not theirs"
    for _ in range(2):
        gone = api("generate", who="Alan").delete(there)
        assert (gone.status_code, gone.json()["state"]) == (200, "withdrawn")
    (kept,) = all_of_it(engine)
    assert (kept.messages, kept.text, kept.correction) == (None, None, None)
    grace = api("admin", who="Grace")
    assert grace.get("/api/v1/projects/demo/feedback").json()["items"] == []
    assert grace.post(f"/api/v1/projects/demo/feedback/{kept.id}/accept").status_code == 409
