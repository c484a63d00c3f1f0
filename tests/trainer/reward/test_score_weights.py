"""Beside the overall verdict: criteria, flags and rewrites, learned by a reward run and paid for by its scorer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.trainer.reward.reward_runs import make_folder, panel_ids, prefers_moons, result_of, rewritten
from trainer.contract.config import RewardConfig
from trainer.contract.folder import RunFolder
from trainer.files import checkpoint
from trainer.reward import run as reward
from trainer.reward.data import TokenSequence, encode_all, read_labels
from trainer.reward.held_out import split_prompts
from trainer.reward.run import FEWEST_LABELS
from trainer.reward.scorer import load_scorer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, simple_lm_folder: Path) -> RunFolder:
    """A run on people who like the moon, find answers with bread clear, flag the bees, and rewrite some answers."""
    folder = make_folder(
        tmp_path_factory.mktemp("reward") / "1", simple_lm_folder, prefers_moons, 140, criteria_weights="overall=1, clear=1"
    )

    def say_more(row: dict[str, Any]) -> list[dict[str, Any]]:
        bread = [row[side]["text"].count("bread") for side in ("left", "right")]
        clear = "tie" if bread[0] == bread[1] else "left" if bread[0] > bread[1] else "right"
        flags = {side: ["unsafe"] if "bees" in row[side]["text"] else [] for side in ("left", "right")}
        said = [row | {"criteria": {"clear": clear, "rare": "tie"} if row["label_id"] else {"clear": clear}, "flags": flags}]
        if row["label_id"] % 10 == 0:
            own = {"left": {"text": "moon moon moon", "token_ids": None}, "choice": "left", "source": "rewrite"}
            said.append(row | own)
        return said

    rewritten(folder, say_more)
    of_one_fold = split_prompts(read_labels(folder.path), cast(RewardConfig, folder.config)).inside(1)
    keys = iter([label.prompt_key for label in read_labels(folder.path).comparisons])

    def say_of_one_fold(row: dict[str, Any]) -> list[dict[str, Any]]:
        told = next(keys) in of_one_fold and row.get("source") != "rewrite"
        return [row | {"criteria": row["criteria"] | {"narrow": row["choice"]}} if told else row]

    rewritten(folder, say_of_one_fold)
    spec = json.loads(folder.file("run.json").read_text())
    spec["inputs"]["flag_costs"] = {"unsafe": 2.0}
    folder.file("run.json").write_text(json.dumps(spec))
    folder = RunFolder(folder.path)
    reward.run(folder)
    return folder


def test_criteria_flags_and_rewrites_are_learned_and_counted(whole: RunFolder) -> None:
    result = result_of(whole)

    assert (result["labels"], result["comparisons"], result["rewrites"]) == (140, 140, 14)
    assert result["rewrite_accuracy"] > 0.9
    assert result["criteria"]["clear"]["accuracy"] > 0.7
    assert result["criteria"]["clear"]["weight"] == 1.0
    assert result["mix"] == {"overall": 1.0, "clear": 1.0}
    assert result["flagged"] > 20
    assert result["flags_learned"]
    assert result["criteria"]["narrow"]["labels"] >= FEWEST_LABELS
    assert "accuracy" not in result["criteria"]["narrow"]  # nobody said it of a second fold's prompts
    assert {"criterion-clear.json", "flags.json", "judge.json"} <= set(checkpoint.verify(whole.file("checkpoint"))["files"])


def test_rewrites_enter_no_figure_of_verdicts(whole: RunFolder) -> None:
    result, labels = result_of(whole), read_labels(whole.path)
    decided = [label for label in labels.comparisons if label.source == "verdict" and label.choice in ("left", "right")]
    judged = split_prompts(labels, cast(RewardConfig, whole.config)).judge
    rows = [label for label in decided if label.prompt_key not in judged]  # the reward's, which the judge never saw
    scorer = load_scorer(whole.file("checkpoint"))
    sequences = encode_all(scorer.backbone, labels.answers, 512)

    said = scorer.verdicts([item.prompt_ids for item in sequences], [item.response_ids for item in sequences]).judged

    assert said is not None
    delta = said[[label.left for label in rows]] - said[[label.right for label in rows]]
    right = [(gap > 0) == (label.choice == "left") for label, gap in zip(rows, delta.tolist(), strict=True)]
    assert result["judge_accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)
    by_person = Counter(label.annotator for label in decided)
    assert {name: found["decided"] for name, found in result["annotators"].items()} == dict(by_person)
    shown = sum(found["decided"] * found["accuracy"] for found in result["annotators"].values()) / len(decided)
    assert result["accuracy"] == pytest.approx(shown)  # people's accuracies are parts of the one on all


def test_ppo_is_paid_for_criteria_and_pays_for_flags(whole: RunFolder) -> None:
    scorer = load_scorer(whole.file("checkpoint"))
    message = [{"role": "user", "content": "Say something, please: 1"}]

    plain, moon, bread, bees = scorer.score_texts(
        [(message, f"the sea walks {word} under old maps") for word in ("slowly", "moon", "bread", "bees")]
    ).tolist()

    assert min(moon, bread) > plain > bees
    scores = scorer.score(*panel_ids(whole, scorer.backbone))
    assert (float(scores.mean()), float(scores.std())) == pytest.approx((0, 1), abs=1e-3)
    overall = scorer.verdicts(*panel_ids(whole, scorer.backbone)).overall  # what the judge is set against
    assert (float(overall.mean()), float(overall.std())) == pytest.approx((0, 1), abs=1e-3)
    assert not torch.allclose(overall, scores, atol=0.1)


def test_flags_of_an_older_checkpoint_cost_one_each(whole: RunFolder, tmp_path: Path) -> None:
    new = load_scorer(whole.file("checkpoint"))
    features = new._read([TokenSequence(*pair) for pair in zip(*panel_ids(whole, new.backbone), strict=True)])
    flags = new.others["flags"]
    given = new._mixed(torch.zeros(len(features["log_length"])), features)

    del flags.settings["typical_cost"]
    old = new._mixed(torch.zeros(len(features["log_length"])), features)

    assert not torch.allclose(old, given)
    flags.settings["typical_cost"] = 1.0
    torch.testing.assert_close(new._mixed(torch.zeros(len(features["log_length"])), features), old)
