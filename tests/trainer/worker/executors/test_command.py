"""What a run is started by: one process for kinds that gain nothing by several, and no more threads than it may have."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainer.contract.config import CONFIGS
from trainer.worker.executors.command import command_of, shared_out

FOLDER = Path("runs/7")


@pytest.mark.parametrize("kind", CONFIGS)
def test_one_process_is_the_trainer_itself(kind: str) -> None:
    assert command_of(kind, FOLDER, 1) == [sys.executable, "-m", "trainer", kind, "runs/7"]


@pytest.mark.parametrize(
    ("kind", "several"),
    [("sample", True), ("ppo", True), ("preference", True), ("sft", True), ("reward", False), ("ask", False)],
)
def test_several_are_started_for_what_they_do_faster(kind: str, several: bool) -> None:
    launcher = ["trainer.lm.machine.torchrun", "4"] if several else ["trainer"]
    assert command_of(kind, FOLDER, 4) == [sys.executable, "-m", *launcher, kind, "runs/7"]


@pytest.mark.parametrize(
    ("told", "processes", "threads"),
    [({}, 1, None), ({"TASTEMAKER_THREADS": "6"}, 1, "6"), ({}, 4, "2"), ({"TASTEMAKER_THREADS": "6"}, 2, "3"), ({}, 16, "1")],
)
def test_threads_are_those_of_the_run(told: dict[str, str], processes: int, threads: str | None) -> None:
    shared = shared_out({"PATH": "/bin", **told}, processes, cores=8)
    assert (shared.get("TASTEMAKER_THREADS"), shared["PATH"]) == (threads, "/bin")
