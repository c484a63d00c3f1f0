"""The playground: who can be asked, what comes back beside each other, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Contender, Generation, OutsideModel, Project, Prompt, Task
from app.runs.checkpoints import current_policy
from app.serving import playground
from tests.app import factories
from tests.app.conftest import Cast
from tests.trainer.contract.outside.chat_server import serving
from trainer.worker.warm import Warm

AsUser = Callable[[str], TestClient]
PAGE = "/projects/demo/playground"
FORM = {"prompt": "Say something, please: 1", "max_tokens": "8", "temperature": "0.7"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def outside(engine: Engine, project_id: int, address: str = "https://api.example.org/v1") -> int:
    with write_session(engine) as session:
        model = OutsideModel(name="GPT", address=address, model="gpt-x", own_network=True)
        session.add(model)
        session.flush()
        contender = Contender(project_id=project_id, kind="outside", name="GPT", outside_id=model.id)
        session.add(contender)
        session.flush()
        return contender.id


def events(reply: Any) -> list[dict[str, Any]]:
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in reply.text.split("\n\n") if line]


@pytest.mark.timeout(300)
def test_ours_and_a_model_outside_answer_beside_each_other_with_a_score_and_its_doubt(
    engine: Engine, cast: Cast, as_user: AsUser, live: dict[str, int], warm: Warm
) -> None:
    grace = as_user("Grace")
    with serving(lambda _body, _number: (200, {"choices": []}, {})) as there:
        contender = outside(engine, cast.demo, there.address)
        assert "GPT" in grace.get(PAGE).text
        ours = events(grace.post(f"{PAGE}/answer", data=FORM | {"who": f"policy:{live['policy']}"}))
        theirs = events(grace.post(f"{PAGE}/answer", data=FORM | {"who": f"outside:{contender}"}))
        assert there.asked[0]["stream"] is True
    ended = next(event for event in ours if "finish_reason" in event)
    assert ended["seed"] >= 0
    if "".join(event.get("text", "") for event in ours).strip():
        assert {"score", "deviation"} <= ours[-1].keys()
    assert theirs == [{"finish_reason": "eos", "seed": None}], "nothing was said, and nothing is scored"
    page = grace.post(PAGE, data=FORM | {"who": [f"policy:{live['policy']}", "policy:99"]})
    assert page.status_code == 200
    assert page.text.count('name="answer.1.text"') == 1, "without scripts all stand there at once"
    assert "no such checkpoint" in page.text, "one that cannot answer says so in its pane"


def test_where_nobody_keeps_the_models_open_it_is_said(engine: Engine, cast: Cast, as_user: AsUser, project: Project) -> None:
    (told,) = events(as_user("Grace").post(f"{PAGE}/answer", data=FORM | {"who": f"policy:{project.policy_id}"}))
    assert "No worker is running" in told["problem"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompt": " "}, "prompt"),
        ({"max_tokens": "many"}, "from 1 to"),
        ({"temperature": "-1"}, "from 0 to"),
        ({"who": "stranger:1"}, "nobody who can be asked"),
        ({"who": "outside:99"}, "nobody who can be asked"),
        ({"who": "outside:" + "9" * 40}, "nobody who can be asked"),
        ({"who": ""}, "nobody who can be asked"),
    ],
)
def test_what_cannot_be_played_is_said_in_the_pane(as_user: AsUser, changed: dict[str, str], words: str) -> None:
    (told,) = events(as_user("Grace").post(f"{PAGE}/answer", data=FORM | {"who": "policy:1"} | changed))
    assert words in told["problem"]


def test_a_prompt_is_kept_once(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    grace = as_user("Grace")
    kept = [grace.post(f"{PAGE}/prompt", data=FORM) for _ in range(2)]
    with read_session(engine) as session:
        prompt = session.scalars(select(Prompt).where(Prompt.project_id == cast.demo)).one()
    assert {one.headers["location"] for one in kept} == {f"/prompts/{prompt.id}"}
    assert prompt.messages == [{"role": "user", "content": FORM["prompt"]}]
    assert grace.post(f"{PAGE}/prompt", data=FORM | {"prompt": ""}).status_code == 422


def test_two_answers_become_a_comparison_of_who_wrote_them(engine: Engine, cast: Cast, as_user: AsUser, project: Project) -> None:
    contender = outside(engine, cast.demo)
    both = {
        "answer.1.who": f"policy:{project.policy_id}",
        "answer.1.text": " Ours.\r\nWell. ",
        "answer.1.seed": "7",
        "answer.1.finish_reason": "length",
        "answer.2.who": f"outside:{contender}",
        "answer.2.text": "Theirs.",
        "answer.2.seed": "",
        "answer.2.finish_reason": "eos",
    }
    grace = as_user("Grace")
    refused = grace.post(f"{PAGE}/task", data=FORM | both)
    assert refused.status_code == 422, "nothing is ticked"
    assert refused.text.count("Theirs.") == 2, "what was written stays, to be read and to be kept"
    assert grace.post(f"{PAGE}/task", data=FORM | both | {"pick": ["1", "2"]}).status_code == 303
    assert grace.post(f"{PAGE}/task", data=FORM | both | {"pick": ["2"]}).status_code == 303
    with read_session(engine) as session:
        compared, rated = session.scalars(select(Task).order_by(Task.id)).all()
        assert (compared.kind, rated.kind) == ("comparison", "rating")
        ours, theirs, again = session.scalars(select(Generation).order_by(Generation.id)).all()
        policy = current_policy(session, session.get_one(Project, cast.demo))
        assert session.get_one(Contender, ours.contender_id).checkpoint_id == policy.id
        assert (ours.text, ours.seed, ours.finish_reason, ours.checkpoint_id) == ("Ours.\nWell.", 7, "length", None)
        assert (ours.settings["played"], ours.settings["max_new_tokens"]) == (True, 8)
        assert (theirs.contender_id, theirs.text, theirs.seed) == (contender, "Theirs.", None)
        assert (theirs.number, again.number) == (0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer.1.who": "policy:99"},
        {"answer.1.who": "outside:99"},
        {"answer.1.text": " "},
        {"answer.1.text": "\u200b"},
        {"answer.1.text": "a\0b"},
        {"answer.1.text": "x" * 20_001},
        {"answer.1.who": "nobody"},
    ],
)
def test_nothing_is_kept_where_one_answer_cannot_be(
    engine: Engine, as_user: AsUser, project: Project, wrong: dict[str, str]
) -> None:
    one = {"pick": "1", "answer.1.who": f"policy:{project.policy_id}", "answer.1.text": "Ours."}
    assert as_user("Grace").post(f"{PAGE}/task", data=FORM | one | wrong).status_code in (404, 422)
    with read_session(engine) as session:
        assert session.scalars(select(Generation)).all() == []
        assert session.scalars(select(Prompt)).all() == []


def test_the_policy_in_force_and_its_base_come_first(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        base = current_policy(session, project).id
        trained = [factories.make_checkpoint(session, project.id, parent_id=base).id for _ in range(3)]
        project.policy_id = trained[1]
        session.flush()
        found = [(one.key, one.role) for one in playground.choices(session, project)]
    assert found[:2] == [(f"policy:{trained[1]}", "policy"), (f"policy:{base}", "base")]
    assert {key for key, _role in found[2:]} == {f"policy:{trained[0]}", f"policy:{trained[2]}"}


def test_only_admins_play(as_user: AsUser) -> None:
    for who in ("Alan", "Mary"):
        assert as_user(who).get(PAGE).status_code == 403
        assert as_user(who).post(f"{PAGE}/answer", data=FORM).status_code == 403
