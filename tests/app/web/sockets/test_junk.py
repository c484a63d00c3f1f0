"""Hundreds of pieces of junk raw on the socket of the real web process: no hang, and memory flat."""

from __future__ import annotations

import socket
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.stage import Server, fill, serving
from tests.app.web.sockets.junk import JUNK


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.nightly)])
def test_junk_neither_holds_others_back_nor_takes_memory(tmp_path: Path, times: int) -> None:
    fill(tmp_path, tasks=1, annotators=1)
    with serving(tmp_path) as server:
        throw(server, JUNK[:1])  # what the first ones take is not theirs alone
        before = server.peak_rss_mib()
        longest_s = throw(server, JUNK * times)
        after = server.peak_rss_mib()

    assert before is not None
    assert after is not None
    assert after - before < 40  # MiB
    assert longest_s < 2


def throw(server: Server, junk: list[bytes]) -> float:
    """All at once, left open; the longest that somebody else then waited for an answer."""
    longest_s = 0.0
    with ExitStack() as open_ones:
        for number, piece in enumerate(junk):
            client = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            try:
                client.sendall(piece)
            except OSError:
                continue  # ended before all of it was sent
            if number % 20 == 0:
                longest_s = max(longest_s, answered_s(server))
        return max(longest_s, answered_s(server))


def answered_s(server: Server) -> float:
    began = time.monotonic()
    with urllib.request.urlopen(f"{server.url}/sign-in", timeout=10) as reply:
        assert reply.status == 200
    return time.monotonic() - began
