"""The reward run on folders, and the scorer that its checkpoints open as."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from trainer import checkpoint, reward, reward_adapter
from trainer.backbone import Backbone, BackboneError, attach_lora, chat_ids, trainable_parameters
from trainer.config import RewardConfig
from trainer.data import TokenSequence, read_labels
from trainer.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.forward import final_states, pack, with_trunk
from trainer.held_out import split_prompts
from trainer.loading import load_backbone
from trainer.reward import FEWEST_LABELS
from trainer.scorer import Scorer, load_scorer

TEXT = "the sea bread green moon walks slowly under old maps while rain falls and bees hum near a quiet garden wall"
WORDS = TEXT.split()
Judge = Callable[[str, str], str]


def prefers_moons(left: str, right: str) -> str:
    one, other = left.count("moon"), right.count("moon")
    return "tie" if one == other else "left" if one > other else "right"


def make_folder(path: Path, base: Path, judge: Judge, labels: int = 120, prompts: int = 30, **config: Any) -> RunFolder:
    """A reward run whose answers are random words and whose labels are what `judge` says."""
    draw = random.Random(0)
    path.mkdir(parents=True)

    def response() -> dict[str, Any]:
        return {"text": " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 9))), "token_ids": None}

    def messages(number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Say something, please: {number}"}]

    rows = []
    for number in range(labels):
        left, right = response(), response()
        choice = judge(left["text"], right["text"])
        rows.append(
            {
                "label_id": number,
                "prompt_id": number % prompts,
                "messages": messages(number % prompts),
                "left": left,
                "right": right,
            }
            | {"choice": choice, "strength": None, "annotator": f"person {number % 3}"}
        )
    panel = [{"prompt_id": number, "messages": messages(number), "response": response()} for number in range(prompts)]
    for name, content in (("preferences.jsonl", rows), ("panel.jsonl", panel)):
        (path / name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    settings = {"folds": 3, "reliability": "off", "judge_min_labels": 30} | config
    spec = {"kind": "reward", "config": settings, "inputs": {"base": str(base), "cache": "../cache"}}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    return RunFolder(path)


def result_of(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.file("result.json").read_text(encoding="utf-8"))
    return found


def panel_ids(folder: RunFolder, backbone: Backbone) -> tuple[list[list[int]], list[list[int]]]:
    rows = list(read_jsonl(folder.file("panel.jsonl")))
    prompts = [chat_ids(backbone.tokenizer, row["messages"]) for row in rows]
    return prompts, [backbone.tokenizer(row["response"]["text"], add_special_tokens=False)["input_ids"] for row in rows]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, simple_lm_folder: Path) -> RunFolder:
    """A finished run on people who like the moon."""
    folder = make_folder(tmp_path_factory.mktemp("reward") / "1", simple_lm_folder, prefers_moons)
    reward.run(folder)
    return folder


@pytest.fixture(scope="module")
def llama_done(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> RunFolder:
    folder = make_folder(tmp_path_factory.mktemp("reward") / "1", llama_folder, prefers_moons)
    reward.run(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> RunFolder:
    """A finished run that keeps adapters."""
    folder = make_folder(
        tmp_path_factory.mktemp("reward") / "1",
        llama_folder,
        prefers_moons,
        40,
        method="lora",
        lora_rank=2,
        lora_layers=2,
        learning_rate=1e-2,
    )
    reward.run(folder)
    return folder


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


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_the_panel_scores_mean_nought_and_deviation_one(finished: str, request: pytest.FixtureRequest) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))

    scores = scorer.score(*panel_ids(folder, scorer.backbone))

    assert float(scores.mean()) == pytest.approx(0, abs=1e-3)
    assert float(scores.std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_a_score_does_not_depend_on_batch_order_padding_or_a_kept_end(
    finished: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, scorer.backbone)
    end = scorer.backbone.tokenizer.eos_token_id
    scores = scorer.score(prompts, responses)

    monkeypatch.setattr("trainer.reading.BATCH_TOKENS", 1)
    alone = scorer.score(prompts[::-1], [[*response, end] for response in responses[::-1]])

    torch.testing.assert_close(alone.flip(0), scores, atol=1e-4, rtol=1e-4)


def test_texts_score_as_their_token_ids(llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"))
    rows = list(read_jsonl(llama_done.file("panel.jsonl")))

    by_text = scorer.score_texts([(row["messages"], row["response"]["text"]) for row in rows])

    torch.testing.assert_close(by_text, scorer.score(*panel_ids(llama_done, scorer.backbone)))


def test_an_answer_that_says_nothing_scores_as_one_that_ended_at_once(llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"))
    messages = next(iter(read_jsonl(llama_done.file("panel.jsonl"))))["messages"]

    empty = scorer.score_texts([(messages, "")])

    prompt = chat_ids(scorer.backbone.tokenizer, messages)
    torch.testing.assert_close(empty, scorer.score([prompt], [[scorer.backbone.tokenizer.eos_token_id]]))


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_a_policy_in_training_neither_changes_scores_nor_is_changed_by_them(
    finished: str, request: pytest.FixtureRequest
) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    expected = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, expected.backbone)
    policy = load_backbone(expected.backbone.source)
    scorer = load_scorer(folder.file("checkpoint"), policy)
    attach_lora(policy, rank=2, layers=2, seed=0)
    with torch.no_grad():
        for parameter in trainable_parameters(policy):
            parameter.add_(0.1)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    wanted = [parameter.requires_grad for parameter in policy.model.parameters()]

    scores = scorer.score(prompts, responses)

    torch.testing.assert_close(scores, expected.score(prompts, responses), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())
    assert [parameter.requires_grad for parameter in policy.model.parameters()] == wanted


def test_the_base_has_its_own_weights_back_after_an_exception(tuned: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = load_scorer(tuned.file("checkpoint"))
    before = {name: tensor.clone() for name, tensor in scorer.backbone.model.state_dict().items()}

    def fail(*_given: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("trainer.scorer.end_states", fail)
    with pytest.raises(RuntimeError):
        scorer.score([[5, 6]], [[7]])

    assert all(torch.equal(tensor, before[name]) for name, tensor in scorer.backbone.model.state_dict().items())


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
    monkeypatch.setattr(reward_adapter, "fit_start", lambda *_given: torch.linspace(-1, 1, width))  # and it knows nothing
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
    assert "chance could also reach" in result["gate_reason"]


def test_ratings_alone_are_enough(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)
    rows = [
        {"label_id": number, "prompt_id": row["prompt_id"], "messages": row["messages"], "response": row["left"], "criteria": {}}
        | {"overall": min(5, 1 + 2 * row["left"]["text"].count("moon")), "annotator": row["annotator"]}
        for number, row in enumerate(read_jsonl(folder.file("preferences.jsonl")))
    ]
    folder.file("preferences.jsonl").unlink()
    folder.file("ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    reward.run(folder)

    result = result_of(folder)
    assert result["gate_passed"] is True
    assert result["accuracy"] is None
    assert result["rating_accuracy"] > 0.7


def test_too_few_labels_are_refused_with_both_numbers(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, labels=12)

    with pytest.raises(Refused, match=r"There are 12 usable labels; a reward run needs at least 30\. 18 more"):
        reward.run(folder)


def test_labels_about_too_few_prompts_are_refused(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, prompts=2)

    with pytest.raises(Refused, match="about 2 prompts"):
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


def test_a_reward_of_another_base_is_refused(llama_done: RunFolder, tmp_path: Path, llama_folder: Path) -> None:
    other = load_backbone(str(llama_folder))
    other.sha256 = "0" * 64

    with pytest.raises(BackboneError, match="fit a reward on this base first"):
        load_scorer(llama_done.file("checkpoint"), other)


def test_pessimism_takes_posterior_deviations_off(tmp_path: Path, done: RunFolder, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, pessimism=1.0)
    reward.run(folder)

    plain, wary = load_scorer(done.file("checkpoint")), load_scorer(folder.file("checkpoint"))

    def drop_for_strangeness(scorer: Scorer) -> float:
        strange = [[scorer.backbone.tokenizer.bos_token_id] * 40]
        usual = panel_ids(done, scorer.backbone)
        return float(scorer.score(*usual).mean() - scorer.score(usual[0][:1], strange)[0])

    assert drop_for_strangeness(wary) > drop_for_strangeness(plain)


def test_the_documented_loader_of_a_head_gives_the_same_scores(llama_done: RunFolder) -> None:
    place = llama_done.file("checkpoint")
    scorer = load_scorer(place)
    prompts, responses = panel_ids(llama_done, scorer.backbone)
    t, j = load_file(place / "head.safetensors"), json.loads((place / "head.json").read_text(encoding="utf-8"))

    for prompt, response, expected in zip(
        prompts[:4], responses[:4], scorer.score(prompts[:4], responses[:4]).tolist(), strict=True
    ):
        with torch.no_grad():
            states = scorer.backbone.model(torch.tensor([prompt + response]), output_hidden_states=True).hidden_states
        own = [layer[0, len(prompt) :] for layer in states]
        x = {f"layer_{index}": layer.mean(0) for index, layer in enumerate(own)}
        x |= {"sum_0": own[0].sum(0), "log_length": torch.tensor([float(len(response))]).log()}
        r = sum(((x[g] - t[g + ".centre"]) / t[g + ".spread"]) @ t[g + ".weights"] for g in j["groups"])
        assert float((r - j["panel_mean"]) / j["panel_deviation"]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_the_judge_scores_on_its_own_scale_by_the_pass_that_scores_too(finished: str, request: pytest.FixtureRequest) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))
    if finished == "tuned":  # 40 labels are too few for a judge
        with pytest.raises(ValueError, match="no judge"):
            scorer.judge([[5]], [[6]])
        return

    prompts, responses = panel_ids(folder, scorer.backbone)
    said = scorer.judge(prompts, responses)

    assert (float(said.mean()), float(said.std())) == pytest.approx((0, 1), abs=1e-3)
    assert result_of(folder)["judge_labels"] >= 30
    assert result_of(folder)["judge_accuracy"] > 0.55  # from 30 labels, on 90 that it never saw
    assert not torch.allclose(said, scorer.score(prompts, responses), atol=1e-2)
    packed = pack(prompts, responses)
    pooled = scorer.pooler(packed)
    with torch.no_grad():
        final_states(scorer.backbone, with_trunk(scorer.backbone, packed, pooled.visit), pooled.visit)
    torch.testing.assert_close(scorer.judge_pooled(pooled), said, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scorer.score_pooled(pooled), scorer.score(prompts, responses), atol=1e-4, rtol=1e-4)


def test_scores_without_length_do_not_go_with_length(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, lambda left, right: "left" if len(left) > len(right) else "right")
    reward.run(folder)
    scorer = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, scorer.backbone)
    lengths = torch.tensor([float(len(response)) for response in responses])
    scores = scorer.score(prompts, responses)

    residual = scorer.without_length(scores, lengths)

    def together(values: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([values, lengths.log()]))[0, 1])

    assert together(scores) > 0.9
    assert abs(together(residual)) < 0.4
    assert float(residual.std()) < 0.5


def rewritten(folder: RunFolder, change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    """Replace each row of preferences.jsonl by what `change` makes of it."""
    found = [row for old in read_jsonl(folder.file("preferences.jsonl")) for row in change(old)]
    folder.file("preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")


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


def test_ppo_is_paid_for_criteria_and_pays_for_flags(whole: RunFolder) -> None:
    scorer = load_scorer(whole.file("checkpoint"))
    message = [{"role": "user", "content": "Say something, please: 1"}]

    plain, moon, bread, bees = scorer.score_texts(
        [(message, f"the sea walks {word} under old maps") for word in ("slowly", "moon", "bread", "bees")]
    ).tolist()

    assert min(moon, bread) > plain > bees
    scores = scorer.score(*panel_ids(whole, scorer.backbone))
    assert (float(scores.mean()), float(scores.std())) == pytest.approx((0, 1), abs=1e-3)
    assert scorer.mixes
    overall = scorer.overall(*panel_ids(whole, scorer.backbone))  # what the judge is set against
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


def test_a_base_whose_states_are_not_finite_is_refused(tmp_path: Path, simple_lm_folder: Path) -> None:
    broken = load_backbone(str(simple_lm_folder))
    with torch.no_grad():
        broken.plain.get_input_embeddings().weight[40:] = float("nan")
    broken.model.save_pretrained(str(tmp_path / "base"))
    broken.tokenizer.save_pretrained(str(tmp_path / "base"))

    with pytest.raises(Refused, match="not finite"):
        reward.run(make_folder(tmp_path / "1", tmp_path / "base", prefers_moons))


def test_a_warm_refit_agrees_with_the_full_one_and_holds_out_one_fold(
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
    torch.testing.assert_close(warm.judge(*given), full.judge(*given), atol=0.02, rtol=0.02)
    assert 0 < result_of(folder)["decided"] < result_of(done)["decided"]
    assert result_of(folder)["figures_on"] == "first fold"


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
