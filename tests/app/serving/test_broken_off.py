"""A warm process that fails in the middle of an answer: every stream ends with a sentence."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project
from app.settings import Settings
from tests.app.chats.talk import Talk, new_id
from tests.app.conftest import Cast
from tests.app.serving.test_playground import FORM, PAGE, events
from trainer.contract.serving.place import ask_for, folder_of

PIECE = {"index": 0, "text": "Half an an", "finish_reason": "", "tokens": 0, "token_ids": []}


class _Failing(socketserver.StreamRequestHandler):
    """Begins an answer and fails at it."""

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.rfile.read(length)
        body = b"".join(json.dumps(one).encode() + b"\n" for one in ({"prompt_tokens": 3}, PIECE, {"failed": True}))
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)


@pytest.fixture
def failing(settings: Settings, live: dict[str, int]) -> Iterator[None]:
    ask_for(settings.data)
    with socketserver.ThreadingUnixStreamServer(str(folder_of(settings.data) / "socket"), _Failing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_the_playground_says_so(as_user: Callable[[str], TestClient], live: dict[str, int], failing: None) -> None:
    told = events(as_user("Grace").post(f"{PAGE}/answer", data=FORM | {"who": f"policy:{live['policy']}"}))
    assert told[0] == {"text": PIECE["text"]}
    assert "broke off" in told[-1]["problem"]
    assert "broke off" in as_user("Grace").post(PAGE, data=FORM | {"who": f"policy:{live['policy']}"}).text


def test_existing_clients_are_told_in_their_shape(api: Callable[..., TestClient], failing: None) -> None:
    asked = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    client = api("generate", who="Alan")
    reply = client.post("/v1/chat/completions", json=asked | {"stream": True})
    last = json.loads(reply.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "broke off" in last["error"]["message"]
    whole = client.post("/v1/chat/completions", json=asked)
    assert (whole.status_code, "broke off" in whole.json()["error"]["message"]) == (500, True)


def test_a_talk_says_so_and_the_turn_waits(api: Callable[..., TestClient], engine: Engine, cast: Cast, failing: None) -> None:
    with write_session(engine) as session:
        session.execute(update(Project).where(Project.id == cast.demo).values(chat_on=True))
    talk = Talk(engine, cast)
    mary = api("annotate", who="Mary")
    told = events(mary.post(f"/api/v1/chats/{talk.id}/turns", json={"client_id": new_id(), "text": "Hello?"}))
    assert (told[-1]["error"]["status"], "broke off" in told[-1]["error"]["detail"]) == (500, True)
    (turn,) = mary.get(f"/api/v1/chats/{talk.id}").json()["turns"]
    assert turn["state"] == "asked"


@pytest.mark.parametrize("where", ["playground", "openai"])
def test_a_bug_of_ours_says_so_too_and_is_still_one(
    as_user: Callable[[str], TestClient],
    api: Callable[..., TestClient],
    live: dict[str, int],
    failing: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    monkeypatch.setattr("app.serving.warm_process.Piece", lambda **_values: 1 / 0)
    asked = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    client = as_user("Grace") if where == "playground" else api("generate", who="Alan")
    client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    if where == "playground":
        reply = client.post(f"{PAGE}/answer", data=FORM | {"who": f"policy:{live['policy']}"})
    else:
        reply = client.post("/v1/chat/completions", json=asked)
    assert "Something failed on our side" in reply.text
    (logged,) = [one for one in caplog.records if one.name == "tastemaker" and one.levelname == "ERROR"]
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError
