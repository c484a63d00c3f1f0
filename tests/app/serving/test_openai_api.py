"""OpenAI's own client against a real server: it chats, streams, lists models, and makes its exceptions of our refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import uvicorn
from fastapi import FastAPI
from openai import OpenAI
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.main import capacity_of
from app.models import ApiKey, KeptAnswer, Project, utc_now
from app.serve import most_connections
from app.serving import warm_process
from app.serving.openai_bodies import CompletionIn
from app.settings import Settings
from app.web.sockets.guard import guarded
from tests.app.conftest import Cast
from trainer.contract.serving.questions import Models
from trainer.worker.warm import Warm

Api = Callable[..., TestClient]
MESSAGES: Any = [{"role": "user", "content": "Say something, please: 1"}]
patient = pytest.mark.timeout(300)


@pytest.fixture
def address(app: FastAPI, settings: Settings) -> Iterator[str]:
    """Of the application, served as it is served to people."""
    listening = socket.create_server(("127.0.0.1", 0))
    http = guarded(most_connections(capacity_of(settings)))
    server = uvicorn.Server(uvicorn.Config(app, http=http, ws="none", log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()


def client_of(api: Api, address: str, *scopes: str, who: str = "Alan") -> OpenAI:
    key = api(*scopes, who=who).headers["authorization"].removeprefix("Bearer ")
    return OpenAI(base_url=address, api_key=key, max_retries=0, timeout=150)


@patient
def test_answers_that_are_to_be_kept_can_be_spoken_of_later(
    api: Api, engine: Engine, cast: Cast, address: str, live: dict[str, int], warm: Warm
) -> None:
    client = client_of(api, address, "generate")
    asked: Any = {"model": "demo", "messages": MESSAGES, "max_tokens": 8}
    whole = client.chat.completions.create(**asked, seed=3, n=2, store=True)
    chunks = list(client.chat.completions.create(**asked, seed=3, store=True, stream=True))
    client.chat.completions.create(**asked, seed=3)
    with read_session(engine) as session:
        kept = session.scalars(select(KeptAnswer).order_by(KeptAnswer.id)).all()
        texts = [choice.message.content for choice in whole.choices]
        assert [(one.completion_id, one.number) for one in kept] == [(whole.id, 0), (whole.id, 1), (chunks[0].id, 0)]
        assert [one.text for one in kept] == [*texts, texts[0]], "the same seed, whole or piece by piece"
        assert (kept[0].policy_id, kept[0].seed, kept[0].kept_by) == (live["policy"], 3, cast.alan)
        assert all(one.token_ids and one.finish_reason in ("eos", "length") for one in kept)
    said = {"client_id": "00000000-0000-4000-8000-000000000001", "completion_id": whole.id, "thumb": "up", "consent": True}
    assert client.post("/feedback", body=said, cast_to=object)["state"] == "waiting"  # type: ignore[index]


@patient
def test_the_client_chats_streams_and_lists(
    api: Api, engine: Engine, cast: Cast, address: str, live: dict[str, int], warm: Warm
) -> None:
    client = client_of(api, address, "generate")
    assert [model.id for model in client.models.list()] == ["demo"]

    whole = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=24, seed=3, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.completion_tokens <= 48

    options: Any = {"include_usage": True}
    asked: Any = {"model": f"demo@{live['policy']}", "messages": MESSAGES, "max_completion_tokens": 24, "seed": 3, "n": 2}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
    texts = ["", ""]
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices], "the same seed, token by token"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]].count(None) == len(chunks) - 3
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1

    # Whoever stops reading stops the writing: the next is served at once, though four hundred tokens were asked for.
    reading = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=400, seed=1, stream=True)
    next(iter(reading))
    reading.close()
    began = time.monotonic()
    client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1)
    assert time.monotonic() - began < 60

    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "x" * 600}])
    assert "512 tokens" in long.value.message
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-5", messages=MESSAGES)
    assert unknown.value.code == "model_not_found"
    for other in ("other", "demo@999", "demo@x", f"demo@{live['reward']}"):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=other, messages=MESSAGES)


@patient
def test_a_stream_that_cannot_go_on_ends_with_its_reason(
    api: Api, address: str, live: dict[str, int], warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(api, address, "generate")
    asked: Any = {"model": "demo", "messages": MESSAGES, "stream": True}
    monkeypatch.setattr("app.serving.openai_bodies.secrets.token_hex", lambda _bytes: "drawn-before")
    list(client.chat.completions.create(**asked, max_tokens=1, store=True))
    with pytest.raises(openai.APIError, match="database is busy"):  # another answer is kept under that id
        list(client.chat.completions.create(**asked, max_tokens=1, store=True))

    reading = client.chat.completions.create(**asked, max_tokens=400, seed=1)
    next(iter(reading))
    assert warm.pid is not None
    os.kill(warm.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="not there right now"):
        list(reading)


def test_without_the_scope_the_role_or_a_key_it_is_refused(api: Api, address: str, live: dict[str, int]) -> None:
    for scopes in (("annotate",), ("export",), ("annotate", "export")):
        for ask in (_chat, lambda client: client.models.list()):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                ask(client_of(api, address, *scopes))
            assert "generate" in refused.value.message
    with pytest.raises(openai.AuthenticationError) as wrong:
        _chat(OpenAI(base_url=address, api_key="sk-1", max_retries=0))
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        _chat(client_of(api, address, "generate", who="Mary"))
    assert list(client_of(api, address, "generate", who="Mary").models.list()) == []


def test_a_key_that_is_bound_to_projects_asks_their_models_alone(
    api: Api, engine: Engine, cast: Cast, address: str, live: dict[str, int]
) -> None:
    client = client_of(api, address, "generate", who="Ada")
    assert [model.id for model in client.models.list()] == ["demo", "other"]
    with write_session(engine) as session:
        session.execute(update(ApiKey).values(project_ids=[cast.other]))
    assert [model.id for model in client.models.list()] == ["other"]
    with pytest.raises(openai.NotFoundError):
        _chat(client)


def test_a_project_that_is_put_away_is_not_asked(
    api: Api, engine: Engine, cast: Cast, address: str, live: dict[str, int]
) -> None:
    with write_session(engine) as session:
        session.execute(update(Project).where(Project.id == cast.demo).values(archived_at=utc_now()))
    client = client_of(api, address, "generate")
    assert list(client.models.list()) == []
    with pytest.raises(openai.NotFoundError):
        _chat(client)


def test_where_the_process_is_away_the_client_is_told_when_to_try_again(
    api: Api, address: str, live: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_process, "START_S", 0.2)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as away:
            client_of(api, address, "generate").chat.completions.create(model="demo", messages=MESSAGES, stream=stream)
        assert away.value.status_code == 503
        assert away.value.code == "overloaded"
        assert int(away.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"stop": ["\n"]}, "stop"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 9}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.list[PartIn].0.type",
        ),
        ({"never_heard_of": 1}, None),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(
    api: Api, live: dict[str, int], values: dict[str, Any], param: str | None
) -> None:
    body = {"model": "demo", "messages": MESSAGES, **values}
    refused = api("generate", who="Alan").post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert (error["param"] or "").split(".")[0] == (param or "").split(".")[0]
    assert "never_heard_of" not in refused.text, "what a caller made up is not repeated"


def test_what_asks_for_nothing_may_be_said() -> None:
    neutral: dict[str, Any] = {
        "stop": None,
        "tools": [],
        "presence_penalty": 0.0,
        "logprobs": False,
        "user": "x",
        "metadata": {"a": "b"},
    }
    parts = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    body = CompletionIn.model_validate({"model": "demo", "messages": parts, **neutral})
    asked = body.asked_of(Models("p", "", "2026-01-01"))
    assert [turn["role"] for turn in asked.messages] == ["system", "user"]
    assert (asked.messages[1]["content"], asked.temperature, asked.top_p, len(asked.seeds)) == ("Hi", 1.0, 1.0, 1)
    with pytest.raises(Invalid):
        CompletionIn.model_validate({"model": "demo", "messages": parts, "logit_bias": {"5": 1}}).asked_of(Models("p", "", "x"))


def test_what_is_no_json_and_what_is_not_there_are_told_in_the_same_shape(api: Api, cast: Cast) -> None:
    program = api("generate", who="Alan")
    broken = program.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    nowhere = program.get("/v1/nothing")
    assert (broken.status_code, nowhere.status_code) == (400, 404)
    for reply in (broken, nowhere):
        assert set(json.loads(reply.text)["error"]) == {"message", "type", "param", "code"}


def _chat(client: OpenAI) -> object:
    return client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1)
