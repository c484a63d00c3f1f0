import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer.__main__
from tests.failing_disk import full_disk
from trainer.__main__ import main
from trainer.contract.english import english
from trainer.contract.messages import from_json

SMALL = {"epochs": 1, "vocab_size": 300, "embedding_size": 16, "hidden_size": 16}


def folder(path: Path, kind: str = "sample", prompts: int = 1, config: dict[str, Any] | None = None, **inputs: Any) -> Path:
    path.mkdir()
    (path / "run.json").write_text(json.dumps({"kind": kind, "config": config or {}, "inputs": inputs}), encoding="utf-8")
    row = {"messages": [{"role": "user", "content": "Tell me about the sea."}]}
    lines = [json.dumps({"prompt_id": index, **row}) for index in range(prompts)]
    (path / "prompts.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def result(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8"))
    return found


def test_a_run_is_done_once(simple_lm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder(tmp_path / "r", policy=str(simple_lm_folder))
    assert main(["sample", str(run)]) == 0
    assert result(run)["status"] == "done"
    before = (run / "result.json").stat().st_mtime_ns
    assert main(["sample", str(run)]) == 0
    assert "done already" in capsys.readouterr().out
    assert (run / "result.json").stat().st_mtime_ns == before


def test_what_cannot_be_done_is_refused_with_its_reason(tmp_path: Path) -> None:
    for name, run, words in (
        ("model", folder(tmp_path / "model", policy="/nowhere"), "/nowhere cannot be opened: there is no folder"),
        (
            "setting",
            folder(tmp_path / "setting", config={"temperature": 0}, policy="x"),
            "Variety: This must lie between 0.01 and 2.",
        ),
        ("kind", folder(tmp_path / "kind", kind="ppo"), "another kind of run (ppo)"),
    ):
        assert main(["sample", str(run)]) == 2, name
        assert result(run)["status"] == "refused"
        assert words in english(from_json(result(run)["reason"]))
    assert main(["sample", str(tmp_path)]) == 2  # no run.json


def test_a_refused_run_can_be_mended_and_started_again(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", policy="/nowhere")
    assert main(["sample", str(run)]) == 2
    spec = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(spec | {"inputs": {"policy": str(simple_lm_folder)}}), encoding="utf-8")
    assert main(["sample", str(run)]) == 0
    assert result(run)["status"] == "done"


def test_a_folder_has_one_process_at_a_time(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", policy=str(simple_lm_folder))
    with (run / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["sample", str(run)]) == 75
    assert not (run / "result.json").exists()
    assert main(["sample", str(run)]) == 0


def test_a_cancelled_run_says_so_and_goes_on_later(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", policy=str(simple_lm_folder))
    (run / "cancel").touch()
    assert main(["sample", str(run)]) == 3
    assert result(run)["status"] == "cancelled"
    (run / "cancel").unlink()
    assert main(["sample", str(run)]) == 0


def test_a_terminated_process_saves_and_leaves_within_seconds(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", prompts=4000, policy=str(simple_lm_folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "sample", str(run)],
        env=os.environ | {"TASTEMAKER_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (run / "generations.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 3
    assert time.monotonic() - asked < 5
    assert result(run)["status"] == "cancelled"
    assert all(json.loads(line) for line in (run / "generations.jsonl").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("take", [lambda _: torch.empty(2**50), lambda _: bytearray(2**60)], ids=["torch", "Python"])
def test_a_run_for_which_there_is_not_enough_memory_is_refused_at_once(
    tmp_path: Path, take: Callable[[object], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.__main__, "_work", lambda _kind: take)
    assert main(["sample", str(folder(tmp_path / "r"))]) == 2
    assert result(tmp_path / "r")["reason"] == {"code": "run_out_of_memory", "arguments": {}}


def test_another_error_of_torch_stays_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.__main__, "_work", lambda _kind: lambda _folder: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        main(["sample", str(folder(tmp_path / "r"))])


@pytest.mark.parametrize("room", [30, 20_000])
def test_a_run_for_which_there_is_no_room_ends_with_that_reason(tmp_path: Path, room: int) -> None:
    """In the first the very row of its progress does not fit; in the second the weights do not, which safetensors writes."""
    run = tmp_path / "r"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"kind": "sft", "config": SMALL, "inputs": {"base": None}}))
    (run / "text.txt").write_text("The sea is wide, and the moon is old. " * 200)
    with full_disk(room):
        assert main(["sft", str(run)]) == 2
    if room > 1_000:
        assert "run's folder could not be written" in english(from_json(result(run)["reason"]))
    assert not list(run.glob("*.tmp"))
    assert main(["sft", str(run)]) == 0
