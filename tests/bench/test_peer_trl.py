"""The comparison with TRL: what is equal on both sides, and what is made of both sides' numbers. TRL itself is not needed."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import peer_trl_preference
from bench.peer_figures import Figures, gains, per_update, pooled, ratios
from bench.peer_trl import Sides, encode_pairs, main, pins, split
from bench.ppo import planted
from bench.resume import make_base
from trainer.lm.loading import load_backbone


def rows(prompts: int, each: int = 2) -> list[dict[str, Any]]:
    return [{"prompt": f"{n}?", "chosen": f"yes {m}", "rejected": f"no {m}"} for n in range(prompts) for m in range(each)]


def test_trl_gets_the_versions_that_we_use() -> None:
    assert pins("peft==0.21.2\n# torch==1\ntorch==2.13.0\n", ("torch", "peft")) == ["torch==2.13.0", "peft==0.21.2"]
    with pytest.raises(ValueError, match="not pinned: numpy"):
        pins("torch==2.13.0\n", ("torch", "numpy"))


def test_folds_part_prompts_and_hold_every_pair_out_once() -> None:
    everything = rows(20)
    folds = [split(everything, fold, 0, 0) for fold in range(5)]

    for train, test in folds:
        assert not {row["prompt"] for row in train} & {row["prompt"] for row in test}
        assert len(train) + len(test) == len(everything)
    held = [row for _, test in folds for row in test]
    assert sorted(map(str, held)) == sorted(map(str, everything))


def test_both_sides_get_the_same_pairs_and_no_more_than_asked_for() -> None:
    train, test = split(rows(20), 1, 6, 3)

    assert (len(train), len(test)) == (6, 3)
    assert (train, test) == split(rows(20), 1, 6, 3)


def test_a_pair_is_cut_as_our_runs_cut_it_and_ends_with_the_token_that_is_scored(tmp_path: Path) -> None:
    backbone = load_backbone(str(make_base(tmp_path / "base")))
    pair = {"prompt": "Human: why?\n\nAssistant:", "chosen": "because " * 9, "rejected": "no"}

    (ids,), longer = encode_pairs(backbone, [pair], 40)

    assert longer == [1.0]
    assert len(ids["chosen_ids"]) == 41  # 40 of prompt and answer, and the end
    assert {side[-1] for side in ids.values()} == {backbone.tokenizer.eos_token_id}
    assert backbone.tokenizer.decode(ids["rejected_ids"][-3:-1]) == "no"


def test_the_first_update_warms_up_and_a_ratio_says_how_many_times_ours_fits_into_theirs() -> None:
    updates = [{"generate_s": 9.0, "score_s": 9.0, "train_s": 9.0}, {"generate_s": 1.0, "score_s": 2.0, "train_s": 3.0}]

    theirs = per_update({"updates": [*updates, updates[1]], "peak_rss_mib": 800})

    assert theirs == {"update_s": 6.0, "generate_s": 1.0, "score_s": 2.0, "train_s": 3.0, "peak_rss_mib": 800}
    assert ratios(theirs, {"update_s": 3.0, "score_s": 0.0, "peak_rss_mib": 400}) == {"update_s": 2.0, "peak_rss_mib": 2.0}


def test_sides_are_compared_on_the_same_rows_over_all_folds() -> None:
    one = {"pairs_per_s": 1.0, "peak_rss_mib": 10, "temperature": 1.0}
    found: dict[str, list[dict[str, Any]]] = {
        "trl": [one | {"margins": [5.0, -5.0]}, one | {"margins": [5.0, -5.0]}],
        "head": [one | {"margins": [0.1, 0.1], "pairs_per_s": 3.0, "temperature": 0.01}, one | {"margins": [5.0, -5.0]}],
    }

    figures = pooled(found, ["a", "b", "c", "d"])

    assert figures["trl"]["accuracy"] == 0.5
    assert figures["trl"]["ece"] == figures["trl"]["ece_untempered"]
    assert figures["head"]["accuracy"] == 0.75
    assert figures["head"]["nll"] < figures["head"]["nll_untempered"]
    assert figures["head"]["ece"] < figures["head"]["ece_untempered"]  # its temperature is what makes it sure where it is right
    assert figures["head"]["gain"] == 0.25
    assert figures["head"]["gain_low"] <= 0.25 <= figures["head"]["gain_high"]
    assert figures["head"]["times_the_pairs_per_s"] == 2.0


def test_a_gain_is_above_0_where_ours_is_better_and_its_interval_knows_which_pairs_share_a_prompt() -> None:
    theirs = torch.full((400,), 5.0, dtype=torch.float64)
    theirs[::3] = -5.0
    ours = theirs / 10  # wrong in the same third, and knows that it may be

    found = gains(ours, theirs, [str(row) for row in range(400)])

    assert found["gain"] == found["gain_low"] == found["gain_high"] == 0.0
    cost = {margin: 134 / 400 * math.log1p(math.exp(margin)) + 266 / 400 * math.log1p(math.exp(-margin)) for margin in (5.0, 0.5)}
    assert found["nll_gain"] == pytest.approx(cost[5.0] - cost[0.5])
    assert 0 < found["nll_gain_low"] < found["nll_gain"] < found["nll_gain_high"]
    together = gains(ours, theirs, [str(row % 3) for row in range(400)])
    assert together["nll_gain_high"] - together["nll_gain_low"] > 2 * (found["nll_gain_high"] - found["nll_gain_low"])


def test_with_keep_trl_is_asked_once_about_the_same_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Figures] = []

    def answer(_self: Sides, _line: Figures, job: Figures) -> Figures:
        asked.append(job)
        return {"margins": [float(job["seed"])]}

    monkeypatch.setattr(Sides, "trl", answer)

    def ask(seed: int, keep: bool = True, weights: str = "1f", versions: str = "trl==1") -> Figures:
        monkeypatch.setattr("bench.peer_trl.wanted", lambda: versions)
        options = Namespace(work=tmp_path, model=tmp_path / "model", threads=1, tune_peer=False, keep=keep)
        return Sides(tmp_path / "python", options).kept_trl({"part": "reward"}, {"seed": seed, "lora_rank": 16}, weights)

    assert ask(0) == ask(0) == {"margins": [0.0]}
    assert len(asked) == 1
    assert ask(1) == {"margins": [1.0]}
    ask(0, weights="2f")
    ask(0, versions="trl==2")
    assert len(asked) == 4
    ask(0, keep=False)
    assert len(asked) == 5


def test_speeds_are_not_said_of_work_that_was_found_done() -> None:
    found = {side: [{"pairs_per_s": 1.0, "peak_rss_mib": 10, "temperature": 1.0, "margins": [1.0]}] for side in ("trl", "head")}

    assert pooled(found, ["a"])["head"]["times_the_pairs_per_s"] == 1.0
    kept = pooled(found, ["a"], speeds=False)
    assert kept["head"].keys() & {"pairs_per_s", "peak_rss_mib", "times_the_pairs_per_s"} == set()
    assert kept["head"]["gain"] == 0.0


def test_the_planted_reward_is_the_share_of_even_tokens() -> None:
    assert planted([[1], [1]], [[2, 4, 5, 7], [2, 2, 2, 2]]).tolist() == [2.0, 4.0]


def test_without_its_data_it_says_so_before_it_installs_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--part", "reward", "--work", str(tmp_path / "work"), "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["peer_trl.py", *arguments])

    assert main() == 2

    assert json.loads(capsys.readouterr().out) == {"status": "absent", "missing": ["pairs_hh_harmless", "pairs_tulu1"]}
    assert not (tmp_path / "work").exists()


def test_without_its_pairs_the_comparison_of_dpo_installs_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--part", "dpo", "--work", str(tmp_path / "work"), "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["peer_trl_preference.py", *arguments])

    assert peer_trl_preference.main() == 2

    assert json.loads(capsys.readouterr().out) == {"status": "absent", "missing": ["pairs_tulu1"]}
    assert not (tmp_path / "work").exists()
