"""The warm process comes when somebody asks, comes back when it dies, and leaves with its worker. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from trainer.contract.environment import GIVES_WAY_TO_RUNS
from trainer.contract.serving.place import ask_for, folder_of
from trainer.worker import warm as keeping
from trainer.worker.warm import Warm

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120.0  # a process that gives way to everybody, on a machine full of tests
patient = pytest.mark.timeout(300)


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    one = Warm(tmp_path, os.environ | {"PYTHONPATH": str(ROOT)})
    yield one
    one.close()


def until(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def until_looks(warm: Warm, met: Callable[[], object], *, beside_a_run: bool = False) -> None:
    def look() -> object:
        warm.look(beside_a_run)
        return met()

    until(look)


def asked_ago(data: Path, seconds: float) -> None:
    ask_for(data)
    then = time.time() - seconds
    os.utime(folder_of(data) / "asked", (then, then))


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_nothing_is_started_where_nobody_asks(warm: Warm, tmp_path: Path) -> None:
    warm.look(beside_a_run=False)
    assert warm.pid is None
    asked_ago(tmp_path, keeping.IDLE_S + 1)
    warm.look(beside_a_run=False)
    assert warm.pid is None
    asked_ago(tmp_path, keeping.IDLE_BESIDE_A_RUN_S + 1)
    warm.look(beside_a_run=True)
    assert warm.pid is None, "beside a run it is let go sooner"


@patient
def test_it_listens_for_this_account_alone_and_gives_way_to_runs(warm: Warm, tmp_path: Path) -> None:
    ask_for(tmp_path)
    warm.look(beside_a_run=False)
    assert warm.pid is not None
    socket = folder_of(tmp_path) / "socket"
    until(socket.exists)
    assert socket.stat().st_mode & 0o077 == 0
    process = psutil.Process(warm.pid)
    assert process.nice() >= GIVES_WAY_TO_RUNS
    assert os.getsid(warm.pid) == warm.pid
    if sys.platform == "linux":
        assert Path(f"/proc/{warm.pid}/oom_score_adj").read_text().strip() == "800"


@patient
def test_it_comes_back_when_it_dies_and_each_time_later_while_it_keeps_dying(warm: Warm, tmp_path: Path) -> None:
    ask_for(tmp_path)
    warm.look(beside_a_run=False)
    first = warm.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until_looks(warm, lambda: warm.pid not in (None, first))
    second = warm.pid
    assert second is not None
    os.kill(second, signal.SIGKILL)
    until_looks(warm, lambda: warm.pid is None)
    begun = time.monotonic()
    until_looks(warm, lambda: warm.pid is not None)
    assert time.monotonic() - begun > 2


@patient
def test_it_ends_when_nobody_has_asked_for_long(warm: Warm, tmp_path: Path) -> None:
    ask_for(tmp_path)
    warm.look(beside_a_run=False)
    pid = warm.pid
    assert pid is not None
    until((folder_of(tmp_path) / "socket").exists)
    asked_ago(tmp_path, keeping.IDLE_BESIDE_A_RUN_S + 1)
    warm.look(beside_a_run=False)
    assert alive(pid)
    until_looks(warm, lambda: not alive(pid), beside_a_run=True)
    until_looks(warm, lambda: warm.pid is None, beside_a_run=True)


@patient
def test_beside_a_run_it_leaves_its_memory_where_that_gets_scarce(
    warm: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for(tmp_path)
    monkeypatch.setattr(keeping, "ENOUGH", 2.0)  # more than there is
    warm.look(beside_a_run=True)
    assert warm.pid is None
    warm.look(beside_a_run=False)
    pid = warm.pid
    assert pid is not None
    monkeypatch.setattr(keeping, "SCARCE", 2.0)
    warm.look(beside_a_run=False)
    assert alive(pid), "without a run the memory is nobody else's"
    until_looks(warm, lambda: not alive(pid), beside_a_run=True)


def test_of_two_workers_of_a_data_folder_one_keeps_it(warm: Warm, tmp_path: Path) -> None:
    other = Warm(tmp_path, os.environ | {"PYTHONPATH": str(ROOT)})
    ask_for(tmp_path)
    warm.look(beside_a_run=False)
    other.look(beside_a_run=False)
    assert (warm.pid is not None, other.pid is not None) == (True, False)
    warm.close()
    until_looks(other, lambda: other.pid is not None)
    other.close()


@patient
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_worker_however_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from trainer.worker.warm import Warm
warm = Warm(Path({str(tmp_path)!r}), os.environ)
while True:
    warm.look(False)
    print(warm.pid, flush=True)
    time.sleep(0.1)
"""
    ask_for(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    until((folder_of(tmp_path) / "socket").exists)
    worker.send_signal(how)
    worker.wait()
    until(lambda: not alive(pid))
