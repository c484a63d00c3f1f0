"""A reward at an address, as somebody else would write it: a real HTTP server, and what it does when it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, bytes]
Answering = Callable[[dict[str, Any], int], Reply]  # what was asked, and the how manieth request it is -> status, body


@dataclass
class Served:
    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def scores(values: list[Any]) -> Reply:
    return 200, json.dumps({"scores": values}).encode()


def letters_a(body: dict[str, Any], _number: int = 0) -> Reply:
    """One point for each letter a of an answer."""
    return scores([answer.count("a") for answer in body["answers"]])


@contextmanager
def serving(answering: Answering = letters_a, location: str | None = None) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append(body)
            served.headers.append(dict(self.headers))
            status, reply = answering(body, len(served.asked))
            self.send_response(status)
            if location is not None:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_what: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/score")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
