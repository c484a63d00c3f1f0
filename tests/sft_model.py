"""A model that writes answers which end, for tests of the whole loop: import `simple_model` where it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def simple_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SimpleLM that has read our guidelines until its answers end, so that some are short and the gate sees the taste."""
    folder = tmp_path_factory.mktemp("sft")
    (folder / "text.txt").write_text((ROOT / "app/guidelines/starting_guidelines.md").read_text("utf-8") * 4, "utf-8")
    config = {"epochs": 6, "vocab_size": 400, "embedding_size": 24, "hidden_size": 48}
    (folder / "run.json").write_text(json.dumps({"kind": "sft", "config": config, "inputs": {"base": None}}))
    command = [sys.executable, "-m", "trainer", "sft", str(folder)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"TASTEMAKER_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    return folder / "checkpoint"
