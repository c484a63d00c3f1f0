"""A whole round over Ray, from the real web and worker processes: seen as it goes, cancelled, and gone on with where a node dies.

The cluster is real: a head on which nothing runs, and two nodes with room for one run each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from bench.installation import ROOT, SLUG, Installation, patiently
from tests.ray_cluster import TOKEN, Cluster
from tests.sft_model import simple_model
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.worker.executors.ray_files import named_job

__all__ = ["simple_model"]

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]

PATIENCE_S: Final = 420.0
SOON_S: Final = 20.0  # for a cancelled run to be gone; the page promises seconds
ENDED: Final = frozenset({"done", "failed", "cancelled"})
LABELS: Final = 150
PPO: Final = {"updates": 12, "episodes": 32, "max_new_tokens": 24, "checkpoint_every": 3}
KILLED_AT: Final = 5  # updates: behind a state that was kept, and before the next
INPUTS: Final = ("run.json", "prompts.jsonl", "panel_prompts.jsonl")
SMALL: Final[dict[str, Any]] = {
    "sampling": {"per_prompt": 4, "max_new_tokens": 24},
    "training": {"ppo": PPO},
    "rating_share": 0.0,
    "overlap": 1,
    "queue_low_mark": 1,
    "repeat_share": 0.0,
    "evaluation": {"on": False},
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(processors=0)
    try:
        made.wait()
        for there in (2, 3):
            made.add()
            made.wait_for_nodes(there)
        yield made
    finally:
        made.close()


@pytest.fixture
def house(cluster: Cluster, tmp_path: Path, simple_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    told = {"EXECUTOR": "ray", "RAY_ADDRESS": cluster.address, "RAY_TOKEN": TOKEN, "RAY_RESOURCES": '{"CPU": 1}', "THREADS": "1"}
    for name, value in told.items():
        monkeypatch.setenv(f"TASTEMAKER_{name}", value)
    made = Installation(tmp_path / "data", simple_model)
    try:
        made.start_web()
        made.sign_in()
        made.start_worker()
        yield made
    finally:
        made.stop()


def test_a_round_over_ray_is_seen_cancelled_and_gone_on_with_where_a_node_dies(
    house: Installation, cluster: Cluster, tmp_path: Path
) -> None:
    house.send("PATCH", f"/projects/{SLUG}", json=SMALL)
    cancelled = house.send("POST", f"/projects/{SLUG}/runs", json={"kind": "sample", "config": {"per_prompt": 64, "seed": 3}})
    sampled = house.send("POST", f"/projects/{SLUG}/runs", json={"kind": "sample", "config": {"split": "train", "seed": 4}})

    until_at_work(house, cancelled["id"], 1)
    assert_gone_once_cancelled(house, cancelled["id"])

    assert house.wait(f"/runs/{sampled['id']}", ENDED, PATIENCE_S)["state"] == "done"
    judge(house)

    round_id = house.send("POST", f"/projects/{SLUG}/rounds", json={})["id"]
    ppo = run_of(house, round_id, "ppo")
    at = until_at_work(house, ppo, KILLED_AT)
    assert at["total"] == PPO["updates"]
    job = named_job(folder(house, ppo).path)
    assert job is not None
    node = cluster.node_of(job)
    cluster.kill(node)
    assert house.send("GET", f"/runs/{ppo}")["state"] == "running", "it was over before its node was"

    round_ = house.wait(f"/rounds/{round_id}", frozenset({"decision", "done", "refused", "failed", "cancelled"}), PATIENCE_S)
    assert round_["state"] == "decision", round_["reason"]
    assert {run["kind"]: run["state"] for run in round_["runs"]} == {"reward": "done", "ppo": "done", "sample": "done"}
    log = house.api.get(f"/runs/{ppo}/log").text
    assert "Ray: Job supervisor actor died" in log
    elsewhere = named_job(folder(house, ppo).path)
    assert elsewhere not in (None, job)
    assert house.send("GET", f"/checkpoints/{round_['candidate_id']}")["run_id"] == ppo
    house.send("POST", f"/checkpoints/{round_['candidate_id']}/promote", json={"confirm": True})
    assert house.send("GET", f"/rounds/{round_id}")["state"] == "done"

    assert_as_if_undisturbed(house, ppo, tmp_path / "undisturbed")
    assert house.ended_by_themselves() == []


def until_at_work(house: Installation, run_id: int, step: int) -> dict[str, Any]:
    """The run once its reply says that it is that far; its log then has something, too."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        found.update(house.send("GET", f"/runs/{run_id}"))
        assert found["state"] not in ENDED, found["message"]
        return bool(found["state"] == "running" and found["step"] >= step)

    wait_until(is_there)
    assert house.api.get(f"/runs/{run_id}/log").raise_for_status().text.strip()
    return found


def assert_gone_once_cancelled(house: Installation, run_id: int) -> None:
    assert at_work(house, run_id)
    asked = time.monotonic()
    house.send("POST", f"/runs/{run_id}/cancel")
    found = house.wait(f"/runs/{run_id}", ENDED, PATIENCE_S)
    assert found["state"] == "cancelled"
    assert time.monotonic() - asked < SOON_S
    assert 0 < found["step"] < found["total"]
    assert at_work(house, run_id) == []


def at_work(house: Installation, run_id: int) -> list[psutil.Process]:
    """The processes of the nodes that do the run."""
    place = str(folder(house, run_id).path)
    return [one for one in psutil.process_iter(["cmdline"]) if place in (one.info["cmdline"] or ())]


def judge(house: Installation) -> None:
    """Somebody who prefers the shorter answer."""
    for _ in range(LABELS):
        task = house.send("POST", f"/projects/{SLUG}/tasks/next")
        left, right = len(task["left"]["text"]), len(task["right"]["text"])
        choice = "tie" if left == right else "left" if left < right else "right"
        house.send("POST", f"/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), "choice": choice})


def run_of(house: Installation, round_id: int, kind: str) -> int:
    """The round's run of this kind, once there is one."""
    found: list[int] = []

    def is_there() -> bool:
        round_ = house.send("GET", f"/rounds/{round_id}")
        assert round_["state"] in ("reward", "ppo"), round_["reason"]
        found.extend(run["id"] for run in round_["runs"] if run["kind"] == kind)
        return bool(found)

    wait_until(is_there)
    return found[0]


def assert_as_if_undisturbed(house: Installation, run_id: int, again: Path) -> None:
    """The same inputs, trained once more on this machine without a stop, come to the very same weights and figures."""
    mine = folder(house, run_id).path
    again.mkdir()
    for name in INPUTS:
        shutil.copy2(mine / name, again / name)
    command = [sys.executable, "-m", "trainer", "ppo", str(again)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"TASTEMAKER_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    assert weights(mine) == weights(again)
    shown = patiently(lambda: house.send("GET", f"/runs/{run_id}/metrics"))["items"]
    assert [row["step"] for row in shown] == [row["step"] for row in read_jsonl(again / "metrics.jsonl")]
    assert figures(mine) == figures(again)


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of each file of weights that a run's checkpoint has."""
    files: dict[str, str] = json.loads((run / "checkpoint" / "manifest.json").read_text(encoding="utf-8"))["files"]
    found = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    assert found
    return found


def figures(run: Path) -> list[dict[str, Any]]:
    """Of each update, but for how long it took."""
    return [{name: value for name, value in row.items() if not is_of_time(name)} for row in read_jsonl(run / "metrics.jsonl")]


def is_of_time(name: str) -> bool:
    return name == "time" or name.startswith("time/")


def folder(house: Installation, run_id: int) -> RunFolder:
    return RunFolder(house.data / "runs" / str(run_id))


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
