"""Runs as processes of this machine, one or two of torchrun's: they say how far they are, stop, are killed and found again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.trainer.worker.executors.sample_runs import PATIENCE_S, assert_whole, make_long, make_run, wait_until
from trainer.contract.folder import EXIT_CANCELLED, EXIT_DONE, EXIT_REFUSED, EXIT_RETRY
from trainer.worker.executors.local import Local, LocalWork
from trainer.worker.results import last_words, read_progress

pytestmark = pytest.mark.timeout(300)
TOLD = {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, "TASTEMAKER_THREADS": "2"}
GRACE_S = 30.0
one_and_two = pytest.mark.parametrize("processes", [1, 2])


@pytest.fixture
def run(tmp_path: Path, simple_lm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sample run of 2,000 answers. What a process that is killed cannot clear away goes with the test."""
    monkeypatch.setitem(TOLD, "TMPDIR", str(tmp_path))
    return make_run(tmp_path / "7", simple_lm_folder)


def begun(run: Path, processes: int) -> LocalWork:
    work = Local(processes).start("sample", run, TOLD)
    wait_until(lambda: work.poll() is not None or read_progress(run).get("step", 0) > 0)
    assert work.poll() is None, (run / "log.txt").read_text(encoding="utf-8")
    return work


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@one_and_two
def test_a_run_says_how_far_it_is_stops_when_asked_and_goes_on(run: Path, processes: int) -> None:
    work = begun(run, processes)
    assert len([one for one in family(work.pid) if "trainer" in one.cmdline()]) == processes
    assert {psutil.Process(one.pid).nice() for one in family(work.pid)} == {os.getpriority(os.PRIO_PROCESS, 0)}
    assert work.memory_bytes() > 20_000_000 * processes
    assert last_words(run)
    work.stop()
    assert work.wait(GRACE_S) == EXIT_CANCELLED
    assert 0 < read_progress(run)["step"] < 2000
    again = Local(processes).start("sample", run, TOLD)
    assert again.wait(PATIENCE_S) == EXIT_DONE
    assert_whole(run)


@one_and_two
def test_what_is_killed_is_gone_with_all_that_it_started(run: Path, processes: int) -> None:
    make_long(run)
    work = begun(run, processes)
    all_of_it = family(work.pid)
    assert len(all_of_it) >= processes
    work.kill()
    assert work.wait(GRACE_S) == -signal.SIGKILL
    _gone, alive = psutil.wait_procs(all_of_it, GRACE_S)
    assert alive == []
    assert not (run / "result.json").exists()  # nor has any of it come to an end of its own meanwhile


@one_and_two
def test_what_a_dead_worker_left_is_found_and_ended_with_its_state_saved(run: Path, processes: int) -> None:
    """By another that was told nothing but the folder."""
    work = begun(run, processes)
    all_of_it = family(work.pid)
    Local().end_left_behind(run, GRACE_S)
    assert [one for one in all_of_it if one.is_running()] == []
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["status"] == "cancelled"
    assert Local(processes).start("sample", run, TOLD).wait(PATIENCE_S) == EXIT_DONE
    assert_whole(run)


def test_a_process_of_another_that_has_the_number_now_is_left_alone(run: Path) -> None:
    (run / "process.json").write_text(json.dumps({"pid": os.getpid(), "created": 12345.0}), encoding="utf-8")
    Local().end_left_behind(run, 0.1)
    (run / "process.json").unlink()
    Local().end_left_behind(run, 0.1)


@pytest.mark.parametrize(("number", "place"), [(signal.SIGKILL, 1), (signal.SIGPROF, 0)])
def test_a_signal_that_ended_one_of_several_is_told(run: Path, number: int, place: int) -> None:
    """SIGPROF ends a process whose chat template runs away: that such a run is not begun again hangs on the status."""
    work = begun(run, 2)
    ranks = {one.environ()["RANK"]: one for one in family(work.pid) if "trainer" in one.cmdline()}
    ranks[str(place)].send_signal(number)
    assert work.wait(PATIENCE_S) == -number


def test_where_torchrun_is_killed_its_processes_end_with_it(run: Path) -> None:
    make_long(run)
    work = begun(run, 2)
    all_of_it = family(work.pid)
    os.kill(work.pid, signal.SIGKILL)
    assert work.wait(GRACE_S) == -signal.SIGKILL
    _gone, alive = psutil.wait_procs(all_of_it, GRACE_S)
    assert alive == []
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["status"] == "cancelled"


def test_a_refusal_of_several_is_one(run: Path) -> None:
    assert Local(2).start("ppo", run, TOLD).wait(PATIENCE_S) == EXIT_REFUSED
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["reason"]["code"] == "wrong_kind"


def test_a_folder_that_is_worked_in_is_left_for_later_by_several(run: Path) -> None:
    work = begun(run, 1)
    assert Local(2).start("sample", run, TOLD).wait(PATIENCE_S) == EXIT_RETRY
    work.kill()
