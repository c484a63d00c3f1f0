"""A sample run whose answers take some seconds, for whoever starts it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from trainer.contract.folder import read_jsonl

PATIENCE_S = 120.0


def make_run(folder: Path, model: Path) -> Path:
    """2,000 answers."""
    folder.mkdir()
    config = {"per_prompt": 400, "max_new_tokens": 24, "batch_size": 8}
    spec = {"kind": "sample", "config": config, "inputs": {"policy": str(model)}}
    (folder / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    rows = [{"prompt_id": at, "messages": [{"role": "user", "content": f"Say {at}"}]} for at in range(5)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def make_long(run: Path) -> None:
    """So many answers that what goes on is still at work when the test has lost its patience."""
    spec = json.loads((run / "run.json").read_text(encoding="utf-8"))
    spec["config"]["per_prompt"] = 1000
    spec["config"]["max_new_tokens"] = 400
    (run / "run.json").write_text(json.dumps(spec), encoding="utf-8")


def assert_whole(run: Path) -> None:
    answers = [(row["prompt_id"], row["index"]) for row in read_jsonl(run / "generations.jsonl")]
    assert len(answers) == len(set(answers)) == 2000


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
