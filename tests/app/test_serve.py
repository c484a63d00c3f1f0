"""The web process as a whole: what it leaves when it is told to stop, and how many connections it keeps."""

from __future__ import annotations

import resource
import urllib.request
from pathlib import Path

import pytest

from app.database.capacity import Capacity
from app.serve import most_connections
from bench.stage import SLUG, fill, serving


def test_a_process_told_to_stop_puts_everything_away(tmp_path: Path) -> None:
    (key,) = fill(tmp_path, tasks=1, annotators=1)
    with serving(tmp_path) as server:
        claim = urllib.request.Request(
            f"{server.url}/api/v1/projects/{SLUG}/tasks/next", method="POST", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(claim, timeout=10) as reply:
            assert reply.status == 200
        assert (tmp_path / "tastemaker.db-wal").exists()
        server.stop()

    assert server.status() == 0
    assert not (tmp_path / "tastemaker.db-wal").exists()


def test_connections_leave_files_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = [64, 400]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: tuple(allowed))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: allowed.__setitem__(slice(None), limits))

    assert most_connections(Capacity(8)) == 300
    assert allowed == [400, 400]

    allowed[:] = [64, resource.RLIM_INFINITY]
    assert most_connections(Capacity(8)) == 2048
