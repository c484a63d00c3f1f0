"""A model outside that answers at once: streamed over real HTTP, within the same bounds as a run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.errors import Invalid, Unavailable
from app.models import OutsideModel
from app.serving.outside_chat import answer
from tests.trainer.contract.outside.chat_server import Reply, by_another_name, echo, no, serving

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@contextmanager
def streaming(words: Iterable[str], asked: list[dict[str, Any]], hold: threading.Event | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(
                json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"key": self.headers["Authorization"]}
            )
            self.send_response(200)
            self.end_headers()
            for word in words:
                self.wfile.write(b"data: " + json.dumps({"choices": [{"delta": {"content": word}}]}).encode() + b"\n\n")
                self.wfile.flush()
                if hold is not None:
                    hold.wait(20)
            self.wfile.write(b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n')

        def log_message(self, *_what: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def model(address: str, **values: Any) -> OutsideModel:
    return OutsideModel(**{"name": "GPT", "address": address, "model": "gpt-x", "own_network": True, **values})


def written(one: OutsideModel) -> tuple[str, str]:
    async def read() -> tuple[str, str]:
        pieces = [piece async for piece in answer(one, HELLO, temperature=0.5, most_tokens=7)]
        return "".join(piece.text for piece in pieces), "".join(piece.finish_reason for piece in pieces)

    return asyncio.run(read())


def test_an_answer_comes_piece_by_piece_and_says_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret")
    asked: list[dict[str, Any]] = []
    with streaming(["Hel", "lo"], asked) as address:
        assert written(model(address, key_variable="SOME_API_KEY")) == ("Hello", "length")
    assert (asked[0]["stream"], asked[0]["max_tokens"], asked[0]["key"]) == (True, 7, "Bearer s3cret")


def test_who_goes_away_waits_for_no_further_piece() -> None:
    hold = threading.Event()

    async def first_piece(address: str) -> str:
        pieces = answer(model(address), HELLO, temperature=0.5, most_tokens=7)
        async with asyncio.timeout(5):
            return (await anext(pieces)).text

    with streaming(["Hel", "lo"], [], hold) as address:
        assert asyncio.run(first_piece(address)) == "Hel"
        hold.set()


def test_what_is_refused_and_what_may_pass_is_told_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret")
    with serving(lambda _body, _number: no(401, "bad key s3cret")) as there, pytest.raises(Invalid) as refused:
        written(model(there.address, key_variable="SOME_API_KEY"))
    assert "bad key …" in refused.value.detail
    with serving(lambda _body, _number: no(503)) as there, pytest.raises(Unavailable, match="status 503"):
        written(model(there.address))
    with serving() as there, pytest.raises(Invalid, match="No model is asked at such an address"):
        written(model(by_another_name(there), own_network=False))
    assert there.asked == []
    with pytest.raises(Invalid, match="a percent sign in its host"):
        written(model("http://localhos%74/v1"))
    monkeypatch.setenv("SOME_API_KEY", "s3cret\ns3cret")
    with serving() as there, pytest.raises(Unavailable, match="SOME_API_KEY, which holds the key") as unusable:
        written(model(there.address, key_variable="SOME_API_KEY"))
    assert "s3cret" not in unusable.value.detail
    monkeypatch.delenv("SOME_API_KEY")
    with pytest.raises(Unavailable, match="SOME_API_KEY"):
        written(model("http://127.0.0.1:9/v1", key_variable="SOME_API_KEY"))


def test_the_newer_name_of_the_length_limit_is_used_where_it_is_asked_for() -> None:
    def new(body: dict[str, Any], _number: int) -> Reply:
        return no(400, "'max_tokens' is not supported, use 'max_completion_tokens'") if "max_tokens" in body else echo(body)

    with serving(new) as there:
        written(model(there.address))
    assert [one.get("max_completion_tokens") for one in there.asked] == [None, 7]
