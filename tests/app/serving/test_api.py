"""The live models over the API: a real warm process on a small model, and what is said where there is none."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project
from app.serving import warm_process
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.folder import RunFolder
from trainer.contract.serving.place import ask_for, asked_at, socket_path
from trainer.contract.serving.questions import MOST_ANSWERS, MOST_TEXTS, MOST_TOKENS, MOST_WAITING
from trainer.reward.scorer import load_scorer
from trainer.worker.warm import Warm

Api = Callable[..., TestClient]
DEMO = "/api/v1/projects/demo"
PROMPT = {"text": "Say something, please: 1"}
patient = pytest.mark.timeout(300)


@patient
def test_scores_and_answers_come_from_the_models_that_are_live(
    api: Api, engine: Engine, cast: Cast, live: dict[str, int], warm: Warm, llama_done: RunFolder
) -> None:
    program = api("generate", who="Alan")
    scored = program.post(f"{DEMO}/score", json={"prompt": PROMPT, "texts": ["the moon", "bread and rain"]})
    assert scored.status_code == 200, scored.text
    body = scored.json()
    assert (body["policy"], body["reward"]) == (live["policy"], live["reward"])
    own = load_scorer(llama_done.file("checkpoint")).score_texts(
        [([{"role": "user", "content": PROMPT["text"]}], text) for text in ("the moon", "bread and rain")]
    )
    assert [one["score"] for one in body["scores"]] == pytest.approx(own.tolist(), abs=1e-4)

    answers = [program.post(f"{DEMO}/generate", json={"prompt": PROMPT, "n": 2, "seed": 5, "max_tokens": 8}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    first = answers[0].json()
    assert first == answers[1].json(), "the same seed draws the same answers"
    assert (first["policy"], first["seed"], len(first["answers"])) == (live["policy"], 5, 2)
    assert all(answer["finish_reason"] in ("eos", "length") and answer["tokens"] <= 8 for answer in first["answers"])
    assert first["prompt_tokens"] > len(PROMPT["text"]), "a token a byte, and what the template writes around it"

    # Another policy is promoted, and answers at once; one that lies nowhere is refused in words.
    with write_session(engine) as session:
        other = factories.make_checkpoint(session, cast.demo, source="runs/9/checkpoint", parent_id=live["policy"])
        session.execute(update(Project).where(Project.id == cast.demo).values(policy_id=other.id))
    refused = program.post(f"{DEMO}/generate", json={"prompt": PROMPT})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert "runs/9/checkpoint" in refused.json()["detail"]
    again = program.post(
        f"{DEMO}/generate", json={"prompt": PROMPT, "checkpoint": live["policy"], "max_tokens": 1, "temperature": 0}
    )
    assert (again.status_code, again.json()["policy"]) == (200, live["policy"])

    long = program.post(f"{DEMO}/generate", json={"prompt": {"text": "x" * 600}, "checkpoint": live["policy"]})
    assert long.status_code == 422
    assert "512 tokens" in long.json()["detail"]

    # It dies while many ask: nobody is left without an answer, and once it is back all goes on.
    assert warm.pid is not None
    died = warm.pid
    kill = threading.Timer(0.2, os.kill, (died, signal.SIGKILL))
    kill.start()
    body = {"prompt": PROMPT, "checkpoint": live["policy"], "max_tokens": 200}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: program.post(f"{DEMO}/generate", json=body).status_code, range(8), timeout=100))
    assert set(found) <= {200, 503}
    assert 503 in found


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("score", {"prompt": PROMPT, "texts": []}, "texts"),
        ("score", {"prompt": PROMPT, "texts": ["a"] * (MOST_TEXTS + 1)}, "texts"),
        ("score", {"prompt": {"messages": []}, "texts": ["a"]}, "prompt"),
        ("generate", {"prompt": PROMPT, "n": MOST_ANSWERS + 1}, "n"),
        ("generate", {"prompt": PROMPT, "max_tokens": MOST_TOKENS + 1}, "max_tokens"),
        ("generate", {"prompt": PROMPT, "temperature": -1}, "temperature"),
        ("generate", {"prompt": PROMPT, "top_p": 0}, "top_p"),
        ("generate", {"prompt": {"nothing": 1}}, "prompt"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_field(
    api: Api, live: dict[str, int], call: str, body: object, field: str
) -> None:
    refused = api("generate", who="Alan").post(f"{DEMO}/{call}", json=body)
    assert refused.status_code == 422
    assert [error["field"].split(".")[0] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("scopes", [("annotate",), ("export",), ("annotate", "export")])
@pytest.mark.parametrize("call", ["score", "generate"])
def test_a_key_without_the_scope_is_refused(api: Api, live: dict[str, int], call: str, scopes: tuple[str, ...]) -> None:
    refused = api(*scopes, who="Alan").post(f"{DEMO}/{call}", json={"prompt": PROMPT, "texts": ["a"]})
    assert refused.status_code == 403
    assert "generate" in refused.json()["detail"]


def test_whoever_annotates_cannot_ask_which_model_wrote_what(api: Api, live: dict[str, int]) -> None:
    assert api("generate", who="Mary").post(f"{DEMO}/score", json={"prompt": PROMPT, "texts": ["a"]}).status_code == 403


def test_without_a_reward_that_beats_guessing_nothing_is_scored(api: Api, alive: None, cast: Cast) -> None:
    refused = api("generate", who="Alan").post(f"{DEMO}/score", json={"prompt": PROMPT, "texts": ["a"]})
    assert refused.status_code == 409
    assert "beats guessing" in refused.json()["detail"]


def test_where_the_process_does_not_come_it_is_said_with_when_to_try_again(
    api: Api, live: dict[str, int], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_process, "START_S", 0.3)
    refused = api("generate", who="Alan").post(f"{DEMO}/generate", json={"prompt": PROMPT})
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert int(refused.headers["retry-after"]) >= 1
    assert asked_at(settings.data) is not None, "the worker knows that somebody asked"


def test_without_a_worker_nobody_waits(api: Api, cast: Cast) -> None:
    refused = api("generate", who="Alan").post(f"{DEMO}/generate", json={"prompt": PROMPT})
    assert refused.status_code == 503
    assert "No worker" in refused.json()["detail"]


def test_more_than_there_are_places_are_told_so_at_once_and_pages_are_served_meanwhile(
    app: FastAPI, api: Api, live: dict[str, int], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is there and says nothing: it opens a large model, say."""
    many = 2 * MOST_WAITING + 4
    ask_for(settings.data)
    key = api("generate", "export", who="Alan").headers["authorization"]
    with socket_path(settings.data) as path, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen(many)
        with ThreadPoolExecutor(many) as pool, TestClient(app, "http://localhost", headers={"authorization": key}) as client:
            asking = [pool.submit(client.post, f"{DEMO}/generate", json={"prompt": PROMPT}) for _ in range(many)]
            full = [one.result(60) for one in _first(asking, 4)]
            assert {(one.status_code, "retry-after" in one.headers) for one in full} == {(503, True)}
            assert client.get(DEMO).status_code == 200
            monkeypatch.setattr(warm_process, "START_S", 0.1)
            silent.close()
            os.unlink(path)
            assert all(one.result(60).status_code == 503 for one in asking)


def _first(asking: list[Future[Response]], count: int) -> list[Future[Response]]:
    """So many of them that have ended."""
    deadline = time.monotonic() + 60
    while len(done := [one for one in asking if one.done()]) < count:
        assert time.monotonic() < deadline, "too few were told"
        time.sleep(0.05)
    return done[:count]
