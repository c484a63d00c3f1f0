"""The bench of DPO on a model of no size: which pairs it is given, and that it learns from them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.dpo import encode_pairs, material
from bench.installation import ROOT
from bench.resume import make_base
from bench.reward import labels_of
from trainer.contract.config import PreferenceConfig
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.preference.data import pairs


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(count)]


def test_its_pairs_are_those_that_a_run_reads(tmp_path: Path) -> None:
    backbone, config = load_backbone(str(make_base(tmp_path / "base"))), PreferenceConfig(max_prompt_tokens=64)
    told = [*rows(4), {"prompt": "long " * 40, "chosen": "a", "rejected": "b"}]

    found = material(encode_pairs(backbone, told, config))

    assert [number for number, _, _ in encode_pairs(backbone, told, config)] == [0, 1, 2, 3]
    run = pairs(backbone, labels_of(told), config, LeftOut())  # so few that it holds out none
    assert len(found.training) == len(run.training) == 4
    assert sorted(map(str, found.texts)) == sorted(map(str, run.texts))
    better = [
        backbone.tokenizer.decode(found.texts[pair.chosen].response_ids, skip_special_tokens=True) for pair in found.training
    ]
    assert better == ["yes 0", "yes 1", "yes 2", "yes 3"]


@pytest.mark.nightly
def test_it_is_right_about_pairs_it_did_not_train_on_where_one_word_tells(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    for name, part in (("train", rows(48)), ("test", rows(60)[48:])):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in part)
    files = ("--train", str(tmp_path / "train.jsonl.gz"), "--test", str(tmp_path / "test.jsonl.gz"))
    command = [sys.executable, str(ROOT / "bench" / "dpo.py"), "--base", str(tmp_path / "base"), *files, "--dtype", "float32"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["steps"], len(said["margins"]), said["accuracy"]) == (3, 12, 1.0)
