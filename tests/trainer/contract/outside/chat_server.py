"""A model outside, as somebody else would serve it: a real HTTP server that speaks /v1/chat/completions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any, dict[str, str]]  # status, body as JSON, headers
Answering = Callable[[dict[str, Any], int], Reply]  # what was asked, and the how manieth request it is


@dataclass
class Served:
    address: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # monotonic seconds
    paths: list[str] = field(default_factory=list)


def says(text: Any, finish: str = "stop", prompt: int = 7, answer: int = 5) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    return 200, {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage}, {}


def no(status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Reply:
    return status, {"error": {"message": message, "type": "some_error"}}, dict(headers or {})


def echo(body: dict[str, Any], _number: int = 0) -> Reply:
    return says(f"You said: {body['messages'][-1]['content']}")


def by_another_name(there: Served) -> str:
    """Its address as one of the internet would look; who connects finds this machine."""
    return there.address.replace("http://127.0.0.1", "https://127.1")


@contextmanager
def serving(answering: Answering = echo) -> Iterator[Served]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                served.asked.append(body)
                served.headers.append(dict(self.headers))
                served.at.append(time.monotonic())
                served.paths.append(self.path)
                number = len(served.asked)
            status, reply, headers = answering(body, number)
            sent = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_what: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
