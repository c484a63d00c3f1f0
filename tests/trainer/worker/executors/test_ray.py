"""Runs as jobs of a real Ray cluster: they say how far they are, stop, go on, are killed, outlive their node and their worker.

One node of the cluster is its head, on which nothing runs here unless a test says so.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ray_cluster import TOKEN, Cluster
from tests.trainer.worker.executors.sample_runs import PATIENCE_S, assert_whole, make_long, make_run, wait_until
from trainer.contract.folder import EXIT_CANCELLED, EXIT_DONE, EXIT_REFUSED, EXIT_RETRY
from trainer.worker.executors import ray as executor
from trainer.worker.executors.local import LocalWork
from trainer.worker.executors.ray import Ray, RayWork
from trainer.worker.executors.ray_files import END, TOLD, end_of, named_job
from trainer.worker.executors.ray_jobs import Jobs
from trainer.worker.results import last_words, read_progress

pytestmark = pytest.mark.timeout(300)
ENVIRONMENT = {"PATH": "/nowhere", "TASTEMAKER_THREADS": "1", "TASTEMAKER_REWARD_KEYS": "tone=s3cret"}
GRACE_S = 30.0
SOON_S = 12.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes: a head that gives no processors, and one that gives one."""
    made = Cluster(processors=0)
    try:
        made.add()
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture
def run(tmp_path: Path, simple_lm_folder: Path) -> Path:
    return make_run(tmp_path / "7", simple_lm_folder)


def ray_of(cluster: Cluster, processes: int = 1) -> Ray:
    return Ray(Jobs(cluster.address, TOKEN), {"CPU": 1.0}, processes)


def start(ray: Ray, kind: str, run: Path) -> RayWork:
    work = ray.start(kind, run, ENVIRONMENT)
    assert isinstance(work, RayWork)
    return work


def begun(cluster: Cluster, run: Path, processes: int = 1) -> RayWork:
    work = start(ray_of(cluster, processes), "sample", run)
    wait_until(lambda: work.poll() is not None or read_progress(run).get("step", 0) > 0)
    assert work.poll() is None, (run / "log.txt").read_text(encoding="utf-8")
    return work


def at_work(run: Path) -> list[psutil.Process]:
    """The processes of this machine that do the run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or ()
        if str(run) in command and "trainer" in command:
            found.append(process)
    return found


def assert_nobody_works(run: Path) -> None:
    _gone, alive = psutil.wait_procs(at_work(run), GRACE_S)
    assert alive == []


@pytest.mark.nightly
def test_a_run_says_how_far_it_is_stops_when_asked_and_goes_on(cluster: Cluster, run: Path) -> None:
    work = begun(cluster, run)
    (process,) = at_work(run)
    told = process.environ()
    assert (told["TASTEMAKER_THREADS"], told["TASTEMAKER_REWARD_KEYS"]) == ("1", "tone=s3cret")
    assert told["PATH"] != "/nowhere"  # a node's own
    assert {TOKEN, "hunter2"} & set(told.values()) == set()  # a model is a stranger's file
    assert "s3cret" not in cluster.client.get(f"/api/jobs/{work.job}").text  # which all see who see the dashboard
    assert not (run / TOLD).exists()
    assert last_words(run)
    assert work.waits_for() is None
    work.stop()
    assert work.wait(GRACE_S) == EXIT_CANCELLED
    assert 0 < read_progress(run)["step"] < 2000
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["status"] == "cancelled"
    assert start(ray_of(cluster), "sample", run).wait(PATIENCE_S) == EXIT_DONE
    assert_whole(run)


@pytest.mark.nightly
def test_what_is_killed_is_gone(cluster: Cluster, run: Path) -> None:
    make_long(run)
    work = begun(cluster, run)
    (process,) = at_work(run)
    process.suspend()  # so it hears nothing that it is asked
    work.kill()
    assert work.wait(SOON_S) == -signal.SIGKILL
    assert_nobody_works(run)
    assert not (run / "result.json").exists()


@pytest.mark.nightly
def test_what_a_dead_worker_left_is_found_and_ended_with_its_state_saved(cluster: Cluster, run: Path) -> None:
    """By another that was told nothing but the folder."""
    begun(cluster, run)
    ray_of(cluster).end_left_behind(run, GRACE_S)
    assert_nobody_works(run)
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["status"] == "cancelled"
    assert named_job(run) is None
    assert start(ray_of(cluster), "sample", run).wait(PATIENCE_S) == EXIT_DONE
    assert_whole(run)


@pytest.mark.nightly
def test_a_job_that_waits_for_room_says_so_and_never_begins_once_it_is_stopped(cluster: Cluster, run: Path) -> None:
    work = start(Ray(Jobs(cluster.address, TOKEN), {"CPU": 1.0, "of-no-node": 1.0}), "sample", run)
    wait_until(lambda: (waits := work.waits_for()) is not None and waits.code == "waiting_for_cluster")
    assert work.poll() is None
    work.stop()
    assert work.poll() == EXIT_CANCELLED
    assert not (run / TOLD).exists()
    assert not (run / "log.txt").exists()


@pytest.mark.nightly
def test_a_token_that_is_refused_is_said_and_nothing_is_lost(cluster: Cluster, run: Path) -> None:
    work = start(Ray(Jobs(cluster.address, "another"), {"CPU": 1.0}), "sample", run)
    assert work.poll() is None
    waits = work.waits_for()
    assert waits is not None
    assert waits.code == "cluster_silent"
    assert "403" in str(waits.arguments["error"])
    work.kill()
    assert work.poll() == -signal.SIGKILL


@pytest.mark.nightly
def test_a_refusal_is_one_and_what_cannot_begin_is_a_crash_whose_reason_is_in_the_log(cluster: Cluster, run: Path) -> None:
    assert start(ray_of(cluster), "ppo", run).wait(PATIENCE_S) == EXIT_REFUSED
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["reason"]["code"] == "wrong_kind"
    work = RayWork(Jobs(cluster.address, TOKEN), f"elsewhere-{os.getpid()}", run, "cd /nowhere && exec true", {"CPU": 1.0})
    (run / TOLD).write_text("{}", encoding="utf-8")
    assert work.wait(PATIENCE_S) == 1
    assert last_words(run).startswith("Ray: Job entrypoint command failed")


@pytest.mark.nightly
def test_who_finds_no_room_for_as_long_as_ray_waits_comes_again(cluster: Cluster, run: Path) -> None:
    work = start(Ray(Jobs(cluster.address, TOKEN), {"CPU": 1.0, "of-no-node": 1.0}), "sample", run)
    assert work.wait(PATIENCE_S) == EXIT_RETRY
    assert not (run / TOLD).exists()


@pytest.mark.nightly
def test_several_processes_of_a_node_do_a_run(cluster: Cluster, run: Path) -> None:
    work = begun(cluster, run, processes=2)
    assert len(at_work(run)) >= 2
    work.stop()
    assert work.wait(GRACE_S) == EXIT_CANCELLED
    assert start(ray_of(cluster, 2), "sample", run).wait(PATIENCE_S) == EXIT_DONE
    assert_whole(run)


@pytest.mark.nightly
def test_a_run_whose_node_dies_is_a_crash_and_goes_on_elsewhere(cluster: Cluster, run: Path) -> None:
    work = begun(cluster, run)
    cluster.kill(cluster.node_of(work.job))
    assert at_work(run) == []
    assert work.wait(PATIENCE_S) == -signal.SIGKILL
    assert last_words(run).startswith("Ray: Job supervisor actor died")
    assert named_job(run) is None  # nobody asks about it once more
    again = start(ray_of(cluster), "sample", run)
    assert again.wait(3) is None  # for room: the head gives none
    cluster.add()
    assert again.wait(PATIENCE_S) == EXIT_DONE
    assert_whole(run)


# Without a cluster


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def test_as_long_as_the_cluster_is_silent_the_run_waits(nobody: str, run: Path) -> None:
    work = start(Ray(Jobs(nobody), {"CPU": 1.0}), "sample", run)
    assert work.wait(0.5) is None
    waits = work.waits_for()
    assert waits is not None
    assert (waits.code, waits.arguments["address"]) == ("cluster_silent", nobody)
    left = json.loads((run / TOLD).read_text(encoding="utf-8"))
    assert left["job"] == work.job == named_job(run)
    assert left["environment"] == {name: value for name, value in ENVIRONMENT.items() if name != "PATH"}
    work.stop()
    assert work.poll() == EXIT_CANCELLED
    assert not (run / TOLD).exists()
    assert work.waits_for() is None


def test_what_a_run_is_told_is_for_its_own_account_alone(nobody: str, run: Path) -> None:
    before = os.umask(0o077)  # as the worker has it
    try:
        start(Ray(Jobs(nobody), {"CPU": 1.0}), "sample", run)
    finally:
        os.umask(before)
    assert stat.S_IMODE((run / TOLD).stat().st_mode) == 0o600


def test_a_kill_does_not_wait_for_a_silent_cluster(nobody: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a job that has begun: its node reads in the folder that it may not go on."""
    monkeypatch.setattr(executor, "KILLED_S", 1.0)
    work = start(Ray(Jobs(nobody), {"CPU": 1.0}), "sample", run)
    (run / TOLD).unlink()
    work.kill()
    assert named_job(run) is None
    assert work.poll() is None
    assert work.wait(5) == -signal.SIGKILL


def test_the_last_word_of_a_job_counts_whether_or_not_the_cluster_answers(nobody: str, run: Path) -> None:
    work = start(Ray(Jobs(nobody), {"CPU": 1.0}), "sample", run)
    (run / TOLD).unlink()
    (run / END).write_text(json.dumps({"job": "an earlier one", "status": 0}), encoding="utf-8")
    assert work.poll() is None
    (run / END).write_text(json.dumps({"job": work.job, "status": -signal.SIGPROF}), encoding="utf-8")
    assert work.poll() == end_of(run, work.job) == -signal.SIGPROF


def test_who_asks_others_does_so_from_this_machine_and_is_found_here(nobody: str, run: Path) -> None:
    ray = Ray(Jobs(nobody), {"CPU": 1.0})
    work = ray.start("ask", run, {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ})
    assert isinstance(work, LocalWork)
    assert named_job(run) is None
    began = time.monotonic()
    ray.end_left_behind(run, GRACE_S)
    assert work.wait(GRACE_S) is not None
    assert time.monotonic() - began < GRACE_S


def test_threads_are_as_many_as_processors_are_asked_for(nobody: str, run: Path) -> None:
    Ray(Jobs(nobody), {"CPU": 4.0, "GPU": 1.0}).start("sample", run, {})
    assert json.loads((run / TOLD).read_text(encoding="utf-8"))["environment"] == {"TASTEMAKER_THREADS": "4"}
