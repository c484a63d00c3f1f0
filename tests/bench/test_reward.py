"""The bench of the reward run: what it reads, and what it says when there is nothing to read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.resume import make_base
from bench.reward import compared, conversation, fill, pairs
from trainer.reward.data import read_labels

ROOT = Path(__file__).resolve().parents[2]


def test_a_transcript_becomes_turns_and_anything_else_one_message() -> None:
    transcript = "Human: hi\n\nAssistant: Hello.\n\nWhat now?\n\nHuman: tell me: why?\n\nAssistant:"

    assert conversation(transcript) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello.\n\nWhat now?"},
        {"role": "user", "content": "tell me: why?"},
    ]
    assert conversation("Write a poem.\n") == [{"role": "user", "content": "Write a poem."}]


def test_the_chosen_answer_is_preferred_on_whichever_side_it_stands(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "set.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": f"{n}?", "chosen": f"good {n}", "rejected": f"bad {n}"}) + "\n" for n in range(20))

    fill(tmp_path / "run", list(pairs(tmp_path / "set.jsonl.gz")), tmp_path, tmp_path, {})

    labels = read_labels(tmp_path / "run")
    preferred = [labels.answers[label.left if label.choice == "left" else label.right].text for label in labels.comparisons]
    assert all(text.startswith("good") for text in preferred)
    assert {label.choice for label in labels.comparisons} == {"left", "right"}


def test_without_its_data_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "reward.py"), "--data", str(tmp_path)], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    assert "does not hold pairs_hh_harmless.jsonl.gz, pairs_tulu1.jsonl.gz: nothing was measured" in done.stderr
    assert json.loads(done.stdout)["status"] == "absent"


@pytest.mark.parametrize("method", ["head", "lora"])
def test_a_fitted_reward_says_for_every_test_pair_by_how_much_the_chosen_answer_is_better(tmp_path: Path, method: str) -> None:
    rows = [{"prompt": f"{n}?", "chosen": f"yes yes {n}", "rejected": f"no no {n}"} for n in range(40)]

    figures = compared(rows[:32], rows[32:], make_base(tmp_path / "base"), tmp_path / "cache", 64, method)

    assert (figures["trained_on"], figures["tested_on"], len(figures["margins"])) == (32, 8, 8)
    assert figures["accuracy"] == sum(margin > 0 for margin in figures["margins"]) / 8
    if method == "head":  # adapters learn little from so few
        assert figures["accuracy"] == 1.0
