"""A real PostgreSQL, started for the tests of one module: import `server` and `engine` where they are needed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.engine import make_engine
from app.database.upgrade import upgrade_to_head


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of an empty database; TASTEMAKER_TEST_POSTGRES names one of your own."""
    with running(fsync=False) as url:
        yield url


@contextmanager
def running(*, fsync: bool) -> Iterator[str]:
    """The URL of an empty database, for as long as the block. With `fsync` a commit waits for the disk, as it does for people."""
    given = os.environ.get("TASTEMAKER_TEST_POSTGRES")
    if given:
        yield given
        return
    with cluster(fsync=fsync) as own:
        yield own.url


@dataclass(frozen=True)
class Cluster:
    """A server of our own, which may be restarted under whoever uses it."""

    url: str
    _control: Callable[..., None]
    _options: str

    def restart(self, mode: str) -> None:
        """`fast`: connections are ended, then it stops in order. `immediate`: as in a crash, it recovers from its log."""
        self._control("-m", mode, "-w", "restart")

    def stop(self) -> None:
        self._control("-m", "fast", "-w", "stop")

    def start(self) -> None:
        """As it was started before."""
        self._control("-w", "-o", self._options, "start")


@contextmanager
def cluster(*, fsync: bool) -> Iterator[Cluster]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (str(programs[-1]) if programs else None)
    assert found, "no PostgreSQL here; `bin/programs` installs one or says how"
    bin = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="tastemaker-postgres-"))  # pytest closes its own folders to the server's account
    user = _allow_server_user(folder)
    port = free_port()
    data = folder / "data"
    _run(user, bin / "initdb", "-D", data, "-U", "taste", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
    safe = "on" if fsync else "off"
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c fsync={safe} -c unix_socket_directories={folder}"
    control = partial(_run, user, bin / "pg_ctl", "-D", data, "-l", folder / "log")
    control("-w", "-o", options, "start")
    try:
        yield Cluster(f"postgresql+psycopg://taste@127.0.0.1:{port}/postgres", control, options)
    finally:
        control("-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _allow_server_user(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: then its own account runs it, and must reach the folder."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "postgres")
    return "postgres"


def _run(user: str | None, *command: object) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        user=user,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def free_port() -> int:
    """A port that nothing listens to now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def engine(server: str) -> Iterator[Engine]:
    upgrade_to_head(server)
    engine = make_engine(server)
    yield engine
    engine.dispose()
