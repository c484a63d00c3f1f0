"""The reward run on folders."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.reward.reward_runs import make_folder, panel_ids, prefers_moons, result_of, rewritten
from tests.trainer.templates import no_system_role
from trainer.contract.english import english
from trainer.contract.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.contract.messages import from_json
from trainer.files import checkpoint
from trainer.lm.loading import load_backbone
from trainer.reward import run as reward
from trainer.reward.data import read_labels
from trainer.reward.scorer import load_scorer


def test_a_planted_preference_is_learned_and_the_gate_opens(done: RunFolder) -> None:
    result = result_of(done)

    assert result["status"] == "done"
    assert result["form"] == "head"
    assert result["accuracy"] > 0.8
    assert 0.7 < result["accuracy_low"] < result["accuracy"] <= result["accuracy_high"]
    assert result["labels"] == 120 == result["comparisons"]
    assert result["prompts"] == 30
    assert 0 < result["ties"] == 120 - result["decided"]
    assert result["gate_passed"] is True
    assert set(result["annotators"]) == {"person 0", "person 1", "person 2"}


def test_metrics_hold_a_row_for_each_fold_and_the_whole(done: RunFolder) -> None:
    rows = list(read_jsonl(done.file("metrics.jsonl")))

    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all("reward/fold_accuracy" in row for row in rows[:3])
    assert rows[3]["reward/accuracy"] == result_of(done)["accuracy"]


def test_the_checkpoint_names_its_base_and_what_it_learned_from(done: RunFolder, simple_lm_folder: Path) -> None:
    manifest = checkpoint.verify(done.file("checkpoint"))

    assert (manifest["kind"], manifest["form"]) == ("reward", "head")
    assert manifest["base"]["sha256"] == load_backbone(str(simple_lm_folder)).sha256
    assert set(manifest["inputs"]) == {"preferences.jsonl", "panel.jsonl"}


def test_adapters_are_a_peft_folder_and_change_what_the_base_says(tuned: RunFolder) -> None:
    assert checkpoint.verify(tuned.file("checkpoint"))["form"] == "lora"
    assert result_of(tuned)["form"] == "lora"
    assert result_of(tuned)["figures_on"] == "choosing fold"
    assert result_of(tuned)["comparisons"] == result_of(tuned)["labels"] > result_of(tuned)["decided"]
    weights = load_file(tuned.file("checkpoint") / "adapter_model.safetensors")
    assert any(bool(tensor.abs().sum() > 0) for name, tensor in weights.items() if ".lora_B." in name)
    assert json.loads((tuned.file("checkpoint") / "adapter_config.json").read_text())["r"] == 2


def test_a_small_lstm_trains_all_its_weights_and_scores_the_same_when_loaded(
    tmp_path: Path, simple_lm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, 40, method="lora", learning_rate=1e-3)
    reward.run(folder)

    scorer = load_scorer(folder.file("checkpoint"))
    scores = scorer.score(*panel_ids(folder, scorer.backbone))

    assert checkpoint.verify(folder.file("checkpoint"))["form"] == "lora"
    assert float(scores.mean()) == pytest.approx(0, abs=1e-3)
    assert float(scores.std()) == pytest.approx(1, abs=1e-3)


def test_auto_keeps_the_better_of_the_two_on_held_out_prompts(
    tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    width = load_backbone(str(llama_folder)).plain.config.hidden_size
    monkeypatch.setattr("trainer.reward.adapter.fit_start", lambda *_given: torch.linspace(-1, 1, width))  # and it knows nothing
    settings: dict[str, Any] = {
        "lora_min_labels": 40,
        "lora_rank": 2,
        "lora_layers": 1,
        "learning_rate": 1e-9,
    }  # adapters that learn nothing
    folder = make_folder(tmp_path / "1", llama_folder, prefers_moons, 80, **settings)

    reward.run(folder)

    result = result_of(folder)
    assert result["head_accuracy"] > result["adapter_accuracy"]
    assert result["form"] == "head"
    assert checkpoint.verify(folder.file("checkpoint"))["form"] == "head"


def test_labels_by_chance_do_not_open_the_gate(tmp_path: Path, simple_lm_folder: Path) -> None:
    coin = random.Random(3)
    folder = make_folder(tmp_path / "1", simple_lm_folder, lambda _left, _right: coin.choice(("left", "right")))

    reward.run(folder)

    result = result_of(folder)
    assert result["gate_passed"] is False
    assert result["gate_reason"]["code"] == "reward_within_chance"
    assert result["tested"] is True


def test_ratings_alone_are_enough(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)
    of_each_prompt(folder, lambda _prompt, text: min(5, 1 + 2 * text.count("moon")))

    reward.run(folder)

    result = result_of(folder)
    assert result["gate_passed"] is True
    assert result["accuracy"] is None
    assert result["rating_accuracy"] > 0.7


def of_each_prompt(folder: RunFolder, stars: Callable[[int, str], int]) -> None:
    """Make ratings of the folder's left answers, by prompt and text, in place of its comparisons."""
    rows = [
        {"label_id": number, "prompt_id": row["prompt_id"], "messages": row["messages"], "response": row["left"], "criteria": {}}
        | {"overall": stars(row["prompt_id"], row["left"]["text"]), "annotator": row["annotator"]}
        for number, row in enumerate(read_jsonl(folder.file("preferences.jsonl")))
    ]
    folder.file("preferences.jsonl").unlink()
    folder.file("ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_ratings_by_the_prompt_alone_do_not_open_the_gate(tmp_path: Path, simple_lm_folder: Path) -> None:
    """They can be foretold: every answer to an even prompt says so itself. Nobody gains by writing one to an odd prompt."""
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)
    told = {"text": "bees bees bees bees", "token_ids": None}
    rewritten(folder, lambda row: [row | {"left": told} if row["prompt_id"] % 2 else row])
    of_each_prompt(folder, lambda prompt, _text: 4 if prompt % 2 else 2)

    reward.run(folder)

    result = result_of(folder)
    assert result["rating_nll"] < 0.5  # nats: it knows them well
    assert (result["gate_passed"], result["gate_reason"]["code"]) == (False, "lone_ratings")
    assert result["tested"] is False


def test_a_gate_that_was_asked_often_wants_more(done: RunFolder, tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)
    spec = json.loads(folder.file("run.json").read_text())
    spec["inputs"]["earlier_tests"] = 100_000
    folder.file("run.json").write_text(json.dumps(spec))

    reward.run(RunFolder(folder.path))

    result = result_of(folder)
    assert result["p_value"] == result_of(done)["p_value"] < 1e-4
    assert (result["gate_passed"], result["earlier_tests"]) == (False, 100_000)


def by_criterion(row: dict[str, Any], coin: random.Random) -> list[dict[str, Any]]:
    """Everybody says which answer is the clearer one, as they say which is better, and throws a coin for the other two."""
    seldom = {"seldom": "left"} if row["label_id"] < 10 else {}
    return [row | {"criteria": {"clear": row["choice"], "coin": coin.choice(("left", "right"))} | seldom}]


@pytest.mark.parametrize(
    ("weights", "passed", "said"),
    [
        ("overall=1, seldom=1, never=2", True, "are left out: never, seldom."),
        ("seldom=1, never=2", False, "too few labels speak of them: never, seldom."),
        ("clear=1", True, "on each criterion that counts: clear."),
        ("clear=1, coin=1", False, "no more than guessing might: coin."),
    ],
)
def test_criteria_that_count_are_tested_and_named_where_nobody_speaks_of_them(
    tmp_path: Path, simple_lm_folder: Path, weights: str, passed: bool, said: str
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, criteria_weights=weights)
    coin = random.Random(0)
    rewritten(folder, lambda row: by_criterion(row, coin))

    reward.run(folder)

    result = result_of(folder)
    assert (result["gate_passed"], result["tested"]) == (passed, weights != "seldom=1, never=2")
    assert said in english(from_json(result["reason"]))
    if "never" in weights:
        assert result["criteria"]["never"] == {"labels": 0, "weight": 2.0}


def test_too_few_labels_are_refused_with_both_numbers(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, labels=12)

    with pytest.raises(Refused, match=r"Usable labels so far: 12\. A reward run needs at least 30; 18 more"):
        reward.run(folder)


def test_labels_about_too_few_prompts_are_refused(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, prompts=2)

    with pytest.raises(Refused, match="Prompts with usable labels so far: 2"):
        reward.run(folder)


def test_a_run_that_was_asked_to_stop_stops(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)
    folder.file("cancel").touch()

    with pytest.raises(Cancelled):
        reward.run(folder)

    assert not folder.file("checkpoint").exists()


def test_the_same_folder_gives_the_same_reward_bit_for_bit(done: RunFolder, tmp_path: Path, simple_lm_folder: Path) -> None:
    again = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)

    reward.run(again)

    files = [checkpoint.verify(folder.file("checkpoint"))["files"] for folder in (done, again)]
    assert files[0] == files[1]


def test_a_base_whose_states_are_not_finite_is_refused(tmp_path: Path, simple_lm_folder: Path) -> None:
    broken = load_backbone(str(simple_lm_folder))
    with torch.no_grad():
        broken.plain.get_input_embeddings().weight[40:] = float("nan")
    broken.model.save_pretrained(str(tmp_path / "base"))
    broken.tokenizer.save_pretrained(str(tmp_path / "base"))

    with pytest.raises(Refused, match="not finite"):
        reward.run(make_folder(tmp_path / "1", tmp_path / "base", prefers_moons))


def test_a_warm_refit_agrees_with_the_full_one_and_predicts_as_many_labels(
    done: RunFolder, tmp_path: Path, simple_lm_folder: Path
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, method="warm")
    spec = json.loads(folder.file("run.json").read_text())
    spec["inputs"]["earlier"] = str(done.file("checkpoint"))
    folder.file("run.json").write_text(json.dumps(spec))

    reward.run(RunFolder(folder.path))

    full, warm = load_scorer(done.file("checkpoint")), load_scorer(folder.file("checkpoint"))
    given = panel_ids(folder, full.backbone)
    torch.testing.assert_close(warm.score(*given), full.score(*given), atol=0.02, rtol=0.02)
    torch.testing.assert_close(warm.verdicts(*given).judged, full.verdicts(*given).judged, atol=0.02, rtol=0.02)
    assert 0 < result_of(folder)["decided"] == result_of(done)["decided"]
    assert len(warm.members) == len(full.members)


@pytest.mark.parametrize(("asked", "learned"), [("on", True), ("auto", False)])
def test_a_warm_refit_does_as_it_is_told_and_else_as_the_earlier_head_did(
    done: RunFolder, tmp_path: Path, simple_lm_folder: Path, asked: str, learned: bool
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, method="warm", reliability=asked)
    spec = json.loads(folder.file("run.json").read_text())
    spec["inputs"]["earlier"] = str(done.file("checkpoint"))
    folder.file("run.json").write_text(json.dumps(spec))

    reward.run(RunFolder(folder.path))

    assert result_of(folder)["reliability"] is learned


def test_a_refit_that_may_not_read_what_the_earlier_head_read_begins_from_nothing(
    done: RunFolder, tmp_path: Path, simple_lm_folder: Path
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, 60, method="warm", length_covariate=False)
    spec = json.loads(folder.file("run.json").read_text())
    spec["inputs"]["earlier"] = str(done.file("checkpoint"))
    folder.file("run.json").write_text(json.dumps(spec))

    reward.run(RunFolder(folder.path))

    assert not {"sum_0", "log_length"} & result_of(folder)["groups"].keys()


def test_reliability_is_kept_where_held_out_labels_say_so_and_both_figures_are_told(
    tmp_path: Path, simple_lm_folder: Path
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, 240, reliability="auto", judge_share=0.0)
    other = {"left": "right", "right": "left", "tie": "tie"}

    def turn_round(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [row | {"choice": other[row["choice"]]} if row["annotator"] == "person 0" else row]

    rewritten(folder, turn_round)
    reward.run(folder)

    result = result_of(folder)
    assert result["reliability"] is True
    assert result["nll_with_reliability"] < result["nll_without_reliability"]
    assert result["annotators"]["person 0"]["reliability"] < 0.4


def test_a_prompt_that_the_template_refuses_is_left_out_with_its_labels_and_named(tmp_path: Path, llama_folder: Path) -> None:
    base = no_system_role(llama_folder, tmp_path / "base")
    folder = make_folder(tmp_path / "1", base, prefers_moons)
    rewritten(folder, lambda row: [_with_system_turn(row) if row["prompt_id"] == 3 else row])

    reward.run(folder)

    result = result_of(folder)
    assert (result["refused_prompts"], result["refused_prompt_ids"]) == (1, [3])
    assert result["labels"] == 116
    said = english(from_json(result["reason"]))
    assert said.endswith(
        "Prompts left out: 1 (3). The model's chat template refuses this conversation: System role not supported"
    )


def test_where_the_template_refuses_every_prompt_the_run_is_refused(tmp_path: Path, llama_folder: Path) -> None:
    base = no_system_role(llama_folder, tmp_path / "base")
    folder = make_folder(tmp_path / "1", base, prefers_moons)
    folder.file("panel.jsonl").unlink()
    rewritten(folder, lambda row: [_with_system_turn(row)])

    with pytest.raises(Refused, match="System role not supported"):
        reward.run(folder)


def _with_system_turn(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]}


def test_labels_that_are_too_few_without_those_left_out_are_refused(tmp_path: Path, llama_folder: Path) -> None:
    base = no_system_role(llama_folder, tmp_path / "base")
    folder = make_folder(tmp_path / "1", base, prefers_moons)
    rewritten(folder, lambda row: [row if row["prompt_id"] < 5 else _with_system_turn(row)])

    with pytest.raises(Refused, match=r"Usable labels so far: 20\. .* Prompts left out: 25 "):
        reward.run(folder)


def test_an_answer_for_which_the_bases_numbers_are_not_finite_is_left_out_alone(tmp_path: Path, llama_folder: Path) -> None:
    broken = load_backbone(str(llama_folder))
    with torch.no_grad():
        broken.plain.get_input_embeddings().weight[broken.tokenizer("é", add_special_tokens=False)["input_ids"][-1]] = torch.nan
    broken.model.save_pretrained(str(tmp_path / "base"))
    broken.tokenizer.save_pretrained(str(tmp_path / "base"))
    folder = make_folder(tmp_path / "1", tmp_path / "base", prefers_moons)
    accented = {"text": "café moon", "token_ids": None}
    rewritten(folder, lambda row: [row | {"left": accented} if row["label_id"] == 7 else row])

    reward.run(folder)

    result = result_of(folder)
    assert (result["labels"], result["not_finite_prompts"], result["not_finite_prompt_ids"]) == (119, 1, [7])
    assert all(torch.isfinite(tensor).all() for tensor in load_file(folder.file("checkpoint") / "head.safetensors").values())


def test_an_empty_answer_is_one_that_ended_at_once(tmp_path: Path, llama_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", llama_folder, prefers_moons)
    empty = {"text": "", "token_ids": None}
    rewritten(folder, lambda row: [row | {"left": empty, "choice": "right"} if row["label_id"] % 10 == 0 else row])

    reward.run(folder)

    result = result_of(folder)
    assert result["labels"] == 120
    assert "not_finite_prompts" not in result
    scores = load_scorer(folder.file("checkpoint")).score_texts(
        [([{"role": "user", "content": "Hi"}], text) for text in ("", "a")]
    )
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("most", [0, 16])
def test_answers_of_which_a_part_is_read_are_counted(tmp_path: Path, simple_lm_folder: Path, most: int) -> None:
    """Each prompt alone is longer than 16 tokens."""
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, 60, max_tokens=most, judge_share=0.0)
    reward.run(folder)
    assert result_of(folder)["shortened_answers"] == (len(read_labels(folder.path).answers) if most else 0)
