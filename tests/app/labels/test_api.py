"""Tasks and labels over the API, as a program of Mary's sees them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.contenders.service import contender_of
from app.database import engine as db
from app.database.engine import read_session, write_session
from app.models import Checkpoint, Generation, Label, Project, Run, Seat
from tests.app import factories
from tests.app.conftest import Cast, another_process_writes
from tests.app.queue.test_claim import make_tasks

V1 = "/api/v1"
Api = Callable[..., TestClient]


@pytest.fixture
def mary(api: Api, cast: Cast) -> TestClient:
    return api("annotate", who="Mary")


def next_task(program: TestClient) -> dict[str, Any]:
    reply = program.post(f"{V1}/projects/demo/tasks/next")
    assert reply.status_code == 200, reply.text
    task: dict[str, Any] = reply.json()
    return task


def verdict(**said: Any) -> dict[str, Any]:
    return {"client_id": str(uuid.uuid4()), "choice": "left", **said}


def test_a_task_is_claimed_answered_once_and_corrected(mary: TestClient, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    task = next_task(mary)
    body = verdict(strength=2, criteria={"accuracy": "left"}, flags={"right": ["untrue"]}, active_ms=5400)

    first = mary.post(f"{V1}/tasks/{task['id']}/label", json=body)
    again = mary.post(f"{V1}/tasks/{task['id']}/label", json=body)
    clash = mary.post(f"{V1}/tasks/{task['id']}/label", json=body | {"choice": "tie", "strength": None})
    corrected = mary.post(f"{V1}/tasks/{task['id']}/label", json=verdict(choice="both_bad"))

    assert [first.status_code, again.status_code, clash.status_code, corrected.status_code] == [201, 200, 409, 201]
    assert first.json() == again.json()
    assert clash.headers["content-type"] == "application/problem+json"
    assert corrected.json()["version"] == 2
    assert mary.post(f"{V1}/projects/demo/tasks/next").status_code == 204
    history = mary.get(f"{V1}/labels/{first.json()['id']}").json()
    assert [(label["version"], label["choice"], label["current"]) for label in history["versions"]] == [
        (2, "both_bad", True),
        (1, "left", False),
    ]
    assert history["left"] == task["left"]
    assert history["right"] == task["right"]


def test_a_rating_is_claimed_and_answered(mary: TestClient, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1, kind="rating")
    task = next_task(mary)
    body = {
        "client_id": str(uuid.uuid4()),
        "overall": 4,
        "criteria": {"fluency": 5},
        "flags": ["off_topic"],
        "rewrite": "Better.",
    }

    assert mary.post(f"{V1}/tasks/{task['id']}/label", json=body).status_code == 201
    (label,) = mary.get(f"{V1}/projects/demo/labels").json()["items"]
    assert (label["overall"], label["flags"], label["rewrite"]) == (
        4,
        {"response": ["off_topic"]},
        {"side": "response", "text": "Better."},
    )


def test_a_rubric_is_shown_with_the_task_and_answered_with_the_verdict(mary: TestClient, engine: Engine, cast: Cast) -> None:
    item = {"key": "sourced", "name": "Is there a source?", "description": "", "required": True, "version": 1}
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).rubric = [item | {"earlier": [], "since": "2026-01-01T00:00:00+00:00"}]
    make_tasks(engine, cast.demo, 1)
    task = next_task(mary)
    assert task["rubric"] == [item]
    place, answers = f"{V1}/tasks/{task['id']}/label", {"left": "yes", "right": "cannot_say"}

    missing = mary.post(place, json=verdict())
    wrong = mary.post(place, json=verdict(rubric={"sourced": {"left": "maybe"}}))
    stored = mary.post(place, json=verdict(rubric={"sourced": {"version": 1, **answers}}))

    assert [missing.status_code, wrong.status_code, stored.status_code] == [422, 422, 201]
    assert "Is there a source?" in missing.text
    (label,) = mary.get(f"{V1}/projects/demo/labels").json()["items"]
    assert label["rubric"] == {"sourced": {"version": 1, **answers}}
    assert mary.post(f"{V1}/tasks/{task['id']}/withdraw", json={"client_id": str(uuid.uuid4())}).status_code == 201
    (withdrawn,) = mary.get(f"{V1}/projects/demo/labels", params={"withdrawn": True}).json()["items"]
    assert withdrawn["rubric"] is None


def test_a_task_tells_nothing_of_who_wrote_what(mary: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        policy = factories.make_checkpoint(session, project.id, name=factories.written("policy-of-round-9"))
        prompt = factories.make_prompt(session, project.id)
        for number, checkpoint_id in enumerate([project.policy_id or 0, policy.id]):
            run = Run(id=7_000_000 + number, project_id=project.id, kind="sample", state="done", config={})
            session.add(run)
            session.flush()
            session.add(
                Generation(
                    id=9_000_000 + number,
                    prompt_id=prompt.id,
                    contender_id=contender_of(session, session.get_one(Checkpoint, checkpoint_id)).id,
                    checkpoint_id=checkpoint_id,
                    run_id=run.id,
                    number=0,
                    settings={"temperature": 0.123},
                    seed=424242,
                    text=f"Text {number}.",
                    token_ids=[1],
                    finish_reason="length",
                )
            )
        session.flush()
        task = factories.make_task(session, project)
        task.prompt_id, task.first_generation_id, task.second_generation_id = prompt.id, 9_000_000, 9_000_001

    reply = mary.post(f"{V1}/projects/demo/tasks/next")

    assert set(reply.json()) == {
        "id",
        "kind",
        "lease_until",
        "prompt",
        "left",
        "right",
        "criteria",
        "rubric",
        "span_reasons",
        "guideline_version",
    }
    assert reply.json()["left"].keys() == reply.json()["right"].keys() == {"text", "cut"}
    seen = reply.text + json.dumps(dict(reply.headers))
    for trace in ("policy-of-round-9", "90000", "70000", "424242", "0.123", "finish", "checkpoint", "swapped", "seat"):
        assert trace not in seen


def test_thirty_two_people_at_once_share_out_the_seats(api: Api, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 12)
    programs = [api("annotate", who=who) for who in ("Mary", "Alan", "Grace", "Ada")] * 2

    def work(program: TestClient) -> list[int]:
        done = []
        for _ in range(6):
            reply = program.post(f"{V1}/projects/demo/tasks/next")
            if reply.status_code == 204:
                break
            body = verdict(client_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{reply.json()['id']}")))
            answer = program.post(f"{V1}/tasks/{reply.json()['id']}/label", json=body)
            assert answer.status_code in (200, 201), answer.text
            done.append(answer.json()["id"])
        return done

    with ThreadPoolExecutor(8) as people:
        stored = [label_id for done in people.map(work, programs) for label_id in done]

    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Label)) == 12
        assert set(session.scalars(select(Label.id))) == set(stored)
        assert session.scalars(select(Seat.state).distinct()).all() == ["done"]


def test_a_task_of_somebody_else_cannot_be_answered_skipped_or_kept(
    api: Api, mary: TestClient, engine: Engine, cast: Cast
) -> None:
    make_tasks(engine, cast.demo, 1)
    task = next_task(mary)
    alan, eve = api("annotate", who="Alan"), api("annotate", who="Eve")

    for program in (alan, eve):
        assert program.post(f"{V1}/tasks/{task['id']}/label", json=verdict()).status_code == 404
        assert program.post(f"{V1}/tasks/{task['id']}/skip", json={}).status_code == 404
    assert alan.post(f"{V1}/tasks/{task['id']}/renew").status_code == 409
    assert eve.post(f"{V1}/tasks/{task['id']}/renew").status_code == 404


def test_skip_and_renew(mary: TestClient, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    task = next_task(mary)

    renewed = mary.post(f"{V1}/tasks/{task['id']}/renew")
    assert renewed.status_code == 200
    assert renewed.json()["lease_until"] > task["lease_until"]
    assert mary.post(f"{V1}/tasks/{task['id']}/skip", json={"reason": "too long"}).status_code == 204
    assert mary.post(f"{V1}/projects/demo/tasks/next").status_code == 204


def test_annotators_see_their_own_labels_reviewers_all(api: Api, mary: TestClient, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    alan = api("annotate", who="Alan")
    ids = {}
    for name, program in (("mary", mary), ("alan", alan)):
        task = next_task(program)
        ids[name] = program.post(f"{V1}/tasks/{task['id']}/label", json=verdict()).json()["id"]

    assert [label["id"] for label in mary.get(f"{V1}/projects/demo/labels").json()["items"]] == [ids["mary"]]
    assert [label["id"] for label in mary.get(f"{V1}/projects/demo/labels?annotator={cast.alan}").json()["items"]] == [
        ids["mary"]
    ]
    assert mary.get(f"{V1}/labels/{ids['alan']}").status_code == 404
    assert mary.get(f"{V1}/labels/{ids['mary']}").json()["label"]["served_reason"] is None
    assert [label["id"] for label in alan.get(f"{V1}/projects/demo/labels").json()["items"]] == [ids["alan"], ids["mary"]]
    assert alan.get(f"{V1}/labels/{ids['mary']}").json()["label"]["served_reason"] == "random"


def test_labels_come_in_pages_and_can_be_searched(api: Api, mary: TestClient, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 5)
    for number in range(5):
        task = next_task(mary)
        mary.post(f"{V1}/tasks/{task['id']}/label", json=verdict(choice="tie" if number == 2 else "left"))

    first = mary.get(f"{V1}/projects/demo/labels?limit=3").json()
    second = mary.get(f"{V1}/projects/demo/labels?limit=3&cursor={first['next_cursor']}").json()
    assert [len(first["items"]), len(second["items"]), second["next_cursor"]] == [3, 2, None]
    ids = [label["id"] for label in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(mary.get(f"{V1}/projects/demo/labels?choice=tie").json()["items"]) == 1
    assert len(mary.get(f"{V1}/projects/demo/labels?text=WHAT is").json()["items"]) == 5
    assert mary.get(f"{V1}/projects/demo/labels?text=100%25").json()["items"] == []
    assert mary.get(f"{V1}/projects/demo/labels?kind=rating").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'{"client_id": "x", "choice": "left"}',
        b'{"client_id": "00000000-0000-0000-0000-000000000000", "choice": "left", "model": "a"}',
        b'{"client_id": "00000000-0000-0000-0000-000000000000", "overall": NaN}',
        b'{"client_id": "00000000-0000-0000-0000-000000000000", "overall": 99999999999999999999}',
        b'{"client_id": "00000000-0000-0000-0000-000000000000", "choice": "left", "comment": "\\u0000"}',
        b'{"client_id": "00000000-0000-0000-0000-000000000000", "choice": "left", "comment": "\\ud800"}',
        b'{"client_id": "00000000-0000-0000-0000-000000000000", "choice": "left", "active_ms": 1e999}',
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_no_verdict_is_refused_and_not_echoed(mary: TestClient, engine: Engine, cast: Cast, body: bytes) -> None:
    make_tasks(engine, cast.demo, 1)
    task = next_task(mary)

    reply = mary.post(f"{V1}/tasks/{task['id']}/label", content=body, headers={"content-type": "application/json"})

    assert reply.status_code in (400, 422)
    assert reply.headers["content-type"] == "application/problem+json"
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Label)) == 0


def test_a_key_without_the_scope_cannot_annotate(api: Api, cast: Cast) -> None:
    assert api("export", who="Mary").post(f"{V1}/projects/demo/tasks/next").status_code == 403


def test_a_program_works_ahead_and_gives_back_what_it_does_not_use(
    api: Api, mary: TestClient, engine: Engine, cast: Cast
) -> None:
    make_tasks(engine, cast.demo, 2)
    first = next_task(mary)

    second = mary.post(f"{V1}/projects/demo/tasks/next", json={"besides": [first["id"]]})
    assert second.status_code == 200
    assert second.json()["id"] != first["id"]
    path = f"{V1}/tasks/{second.json()['id']}/return"
    late = mary.post(path, json={"lease_until": first["lease_until"]})
    assert (late.status_code, late.json()["detail"]) == (
        409,
        "The task is not kept for you under that lease any more. Nothing was given back.",
    )
    for never in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):  # no moment in UTC
        assert mary.post(path, json={"lease_until": never}).status_code == 422
    assert mary.post(path, json={"lease_until": second.json()["lease_until"]}).status_code == 204
    assert next_task(api("annotate", who="Alan"))["id"] == second.json()["id"]


def test_a_database_that_another_process_keeps_is_said_to_be_busy_and_nothing_is_lost(
    mary: TestClient, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tasks(engine, cast.demo, 1)
    task = next_task(mary)
    body = verdict(comment="Clearer.")
    monkeypatch.setattr(db, "WRITER_PATIENCE_S", 0.1)
    with another_process_writes(engine):
        busy = mary.post(f"{V1}/tasks/{task['id']}/label", json=body, headers={"accept-language": "zh-Hant"})
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert busy.headers["content-type"] == "application/problem+json"
    assert "資料庫正忙" in busy.json()["detail"]
    assert mary.post(f"{V1}/tasks/{task['id']}/label", json=body).status_code == 201
