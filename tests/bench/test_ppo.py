"""The bench of a PPO update on a model of no size: what it is given, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.installation import ROOT
from bench.ppo import PROMPT_TOKENS, passages, told_apart
from bench.resume import make_base
from trainer.lm.forward import shared_prefix
from trainer.lm.loading import load_backbone


def test_the_prompts_are_as_many_and_as_long_as_wanted_all_different_and_share_no_beginning(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    prompts = passages(load_backbone(str(tmp_path / "base")).tokenizer, 32)
    assert [len(prompt) for prompt in prompts] == [PROMPT_TOKENS] * 32
    assert len({tuple(prompt) for prompt in prompts}) == 32
    assert shared_prefix(prompts) == 0


def test_passages_that_tell_what_was_learned_are_others_spread_among_those_trained_on(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    tokenizer = load_backbone(str(tmp_path / "base")).tokenizer

    learned, held_out = told_apart(tokenizer, 8, 16)

    assert (len(learned), len(held_out)) == (8, 16)
    together = passages(tokenizer, 24)
    assert sorted(learned + held_out) == sorted(together)
    assert {together.index(ids) // 3 for ids in learned} == set(range(8))
    assert told_apart(tokenizer, 8, 0) == (passages(tokenizer, 8), [])


@pytest.mark.nightly
def test_a_planted_run_in_groups_says_what_other_passages_earned_before_and_after(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    size = ("--updates", "2", "--episodes", "16", "--answer-tokens", "4", "--learning-rate", "0.01", "--dtype", "float32")
    group = ("--advantage", "grpo", "--answers-per-prompt", "4", "--held-out", "8")
    command = [sys.executable, str(ROOT / "bench" / "ppo.py"), "--planted", "--model", str(tmp_path / "base"), *size, *group]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    before, after = json.loads(done.stdout.splitlines()[-1])["held_out_shares"]
    assert 0 < before < after <= 1


@pytest.mark.nightly
def test_a_planted_run_says_what_every_rollout_earned_and_what_its_values_foretold(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    size = ("--updates", "2", "--episodes", "4", "--answer-tokens", "4", "--seed", "3", "--dtype", "float32")
    command = [sys.executable, str(ROOT / "bench" / "ppo.py"), "--planted", "--model", str(tmp_path / "base"), *size]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    said = json.loads(done.stdout.splitlines()[-1])
    assert (len(said["scores"]), len(said["kl"]), len(said["explained_variance"])) == (4, 4, 3)
    assert said["kl"][0] == 0.0
    assert all(0 <= score <= 4 for score in said["scores"])
    assert (said["settings"]["seed"], said["settings"]["optimiser_steps"]) == (3, 16)
