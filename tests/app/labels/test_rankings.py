"""Rankings from their asking to what learns from them: over the API, on the page, in the export and in a run's files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Checkpoint, Generation, Label, Project, Prompt
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.folder import read_jsonl
from trainer.reward.data import Labels, read_labels
from trainer.worker.label_files import freeze_labels

V1 = "/api/v1"
Api = Callable[..., TestClient]
TEXTS = ["one", "two", "three", "four"]


@pytest.fixture
def answers(engine: Engine, cast: Cast) -> list[int]:
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, cast.demo, "Count.", split="train")
        policy = session.scalars(select(Checkpoint).where(Checkpoint.project_id == cast.demo)).first()
        policy = policy or factories.make_checkpoint(session, cast.demo)
        return [factories.make_generation(session, prompt, policy.id, text).id for text in TEXTS]


@pytest.fixture
def task(api: Api, answers: list[int]) -> int:
    made = api("admin", who="Grace").post(f"{V1}/projects/demo/tasks", json={"items": [{"answers": answers}]})
    assert made.status_code == 201, made.text
    (task_id,) = made.json()["task_ids"]
    return int(task_id)


@pytest.fixture
def mary(api: Api, cast: Cast) -> TestClient:
    return api("annotate", who="Mary")


def order(**said: Any) -> dict[str, Any]:
    return {"client_id": str(uuid.uuid4()), "ranking": [[2], [1, 4]], **said}


def test_a_ranking_is_served_stored_and_corrected_and_knows_what_stood_where(
    mary: TestClient, engine: Engine, task: int, answers: list[int]
) -> None:
    served = mary.post(f"{V1}/projects/demo/tasks/next").json()
    assert (served["id"], served["kind"]) == (task, "ranking")
    shown = [answer["text"] for answer in served["answers"]]
    assert sorted(shown) == sorted(TEXTS)
    assert not {str(one) for one in answers} & set(json.dumps(served["answers"]).split('"'))  # nothing tells which is which

    body = order(last=[3], flags={"3": ["untrue"]})
    first = mary.post(f"{V1}/tasks/{task}/label", json=body)
    again = mary.post(f"{V1}/tasks/{task}/label", json=body)
    other = mary.post(f"{V1}/tasks/{task}/label", json=order(ranking=[], all_bad=True))

    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 201]
    history = mary.get(f"{V1}/labels/{first.json()['id']}").json()
    assert [label["ranking"]["all_bad"] for label in history["versions"]] == [True, False]
    assert history["label"]["ranking"] == {"order": [[2], [1, 4]], "last": [3], "all_bad": False}
    assert [answer["text"] for answer in history["answers"]] == shown
    with read_session(engine) as session:
        label = session.get_one(Label, first.json()["id"])
        assert label.ranking is not None
        assert [session.get_one(Generation, one).text for one in label.ranking["shown"]] == shown
        assert label.left_generation_id == label.ranking["shown"][0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ranking": []},
        {"ranking": [[1], [1]]},
        {"ranking": [[5]]},
        {"ranking": [[1], []]},
        {"ranking": [[1]], "all_bad": True},
        {"ranking": [], "last": [1, 2, 3, 4]},
        {"ranking": [[1]], "last": [1]},
        {"ranking": [[1]], "flags": {"5": ["untrue"]}},
    ],
)
def test_an_order_that_says_nothing_or_contradicts_itself_is_refused(mary: TestClient, task: int, wrong: dict[str, Any]) -> None:
    mary.post(f"{V1}/projects/demo/tasks/next")
    refused = mary.post(f"{V1}/tasks/{task}/label", json=order(**wrong))
    fields = [one["field"] for one in refused.json()["errors"]]
    assert (refused.status_code, fields) == (422, ["flags" if "flags" in wrong else "ranking"])
    chosen = mary.post(f"{V1}/tasks/{task}/label", json={"client_id": str(uuid.uuid4()), "choice": "left"})
    assert chosen.status_code == 422


@pytest.mark.parametrize("items", [{"first": 1, "answers": [1, 2, 3]}, {"answers": [1, 2]}, {"second": 2}, {}])
def test_what_is_asked_about_is_one_thing(api: Api, cast: Cast, items: dict[str, Any]) -> None:
    assert api("admin", who="Grace").post(f"{V1}/projects/demo/tasks", json={"items": [items]}).status_code == 422


def test_people_see_the_answers_in_orders_of_their_own(api: Api, engine: Engine, answers: list[int], cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).overlap = 2
    program = api("admin", who="Grace")
    for _ in range(6):
        program.post(f"{V1}/projects/demo/tasks", json={"items": [{"answers": answers}]})
    orders = {}
    for name in ("Mary", "Alan"):
        own, seen = api("annotate", who=name), list[int]()
        for _ in range(4):
            served = own.post(f"{V1}/projects/demo/tasks/next", json={"besides": seen}).json()
            seen.append(served["id"])
            orders[name, served["id"]] = [answer["text"] for answer in served["answers"]]
    both = {task_id for name, task_id in orders if name == "Mary"} & {task_id for name, task_id in orders if name == "Alan"}
    assert any(orders["Mary", task_id] != orders["Alan", task_id] for task_id in both)


def test_the_page_works_without_scripts(as_user: Callable[[str], TestClient], engine: Engine, task: int) -> None:
    page = as_user("Mary")
    shown = page.get("/projects/demo/annotate").text
    assert shown.count('name="place.') == 4
    token = shown.split('name="csrf_token" value="')[1].split('"')[0]
    form = {
        "csrf_token": token,
        "client_id": str(uuid.uuid4()),
        "place.2": "1",
        "place.1": "2",
        "place.4": "2",
        "place.3": "last",
    }
    assert page.post(f"/tasks/{task}/label", data=form).status_code == 303
    nothing = page.post(f"/tasks/{task}/label", data={"csrf_token": token, "client_id": str(uuid.uuid4()), "place.1": ""})
    assert nothing.status_code == 422
    again = page.get(f"/projects/demo/annotate?task={task}").text
    assert "2 &gt; 1 = 4 &gt; 3" in again
    with read_session(engine) as session:
        label = session.scalars(select(Label)).one()
    assert label.ranking is not None
    assert {part: label.ranking[part] for part in ("order", "last")} == {"order": [[2], [1, 4]], "last": [3]}
    assert page.get(f"/labels/{label.id}").status_code == 200
    assert page.get("/projects/demo/labels?kind=ranking").status_code == 200
    assert page.get("/projects/demo/my-work").status_code in (200, 404)


def exported(program: TestClient, format: str) -> list[dict[str, Any]]:
    reply = program.get(f"{V1}/projects/demo/export", params={"format": format})
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def test_it_leaves_as_an_order_and_as_the_pairs_that_it_implies(api: Api, mary: TestClient, engine: Engine, task: int) -> None:
    mary.post(f"{V1}/projects/demo/tasks/next")
    mary.post(f"{V1}/tasks/{task}/label", json=order(ranking=[[2], [1]], last=[3], flags={"3": ["untrue"]}))
    program = api("export", who="Grace")

    (row,) = exported(program, "rankings")
    assert row["ranking"] == "2 > 1 > ... > 3"
    assert [(answer["place"], answer["last"]) for answer in row["answers"]] == [(2, False), (1, False), (0, True), (0, False)]
    assert [answer["flags"] for answer in row["answers"]] == ["", "", "untrue", ""]
    pairs = exported(program, "preference")
    texts = [answer["text"] for answer in row["answers"]]
    told = {(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs}
    assert told == {(texts[a - 1], texts[b - 1]) for a, b in [(2, 1), (2, 4), (2, 3), (1, 4), (1, 3), (4, 3)]}
    assert {(pair["implied"], pair["soft_label"]["chosen"]) for pair in pairs} == {(6, 1.0)}
    assert {(one["completion"][0]["content"], one["label"]) for one in exported(program, "kto")} == {
        (texts[1], True),
        (texts[2], False),
    }
    (whole,) = exported(program, "labels")
    assert (whole["kind"], whole["ranking"], whole["ranked_flags"]) == ("ranking", "2 > 1 > ... > 3", "3: untrue")
    for format in ("rankings", "preference", "labels"):
        assert program.get(f"{V1}/projects/demo/export", params={"format": format, "as": "csv"}).status_code == 200


def test_a_run_reads_what_people_said(mary: TestClient, engine: Engine, task: int, cast: Cast, tmp_path: Path) -> None:
    with read_session(engine) as session:
        base = session.scalars(select(Checkpoint).where(Checkpoint.project_id == cast.demo)).first()
        assert base is not None
        before, count = freeze_labels(session, base, cast.demo, tmp_path)
    assert (count, (tmp_path / "rankings.jsonl").exists()) == (0, False)
    mary.post(f"{V1}/projects/demo/tasks/next")
    mary.post(f"{V1}/tasks/{task}/label", json=order(last=[3], flags={"3": ["untrue"]}))

    with read_session(engine) as session:
        digest, count = freeze_labels(session, base, cast.demo, tmp_path)
        train = session.scalars(select(Prompt.split).where(Prompt.project_id == cast.demo)).one() == "train"

    assert train
    assert (count, digest == before) == (1, False)
    (row,) = read_jsonl(tmp_path / "rankings.jsonl")
    labels: Labels = read_labels(tmp_path)
    (ranking,) = labels.rankings
    assert [labels.answers[one].text for one in ranking.answers] == [answer["text"] for answer in row["answers"]]
    assert (ranking.order, ranking.last) == (((1,), (0, 3)), (2,))
    assert labels.usable == 1
    assert [set(given.flags) for given in labels.flag_judgements] == [set(), set(), {"untrue"}, set()]
