"""Whole runs on a tiny Llama: what they leave, what ends them, what is refused; an interrupted one goes on bit for bit."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from bench.resume import WORDS, make_base
from tests.trainer.sft.test_packing import texts as sft_texts
from tests.trainer.tiny import llama_policy
from trainer.contract.config import PreferenceConfig
from trainer.contract.english import english
from trainer.contract.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.contract.intervals import wilson
from trainer.contract.messages import reason_of
from trainer.files import checkpoint
from trainer.lm.backbone import chat_ids, named_trainable
from trainer.lm.chat_template import text_ids
from trainer.lm.loading import load_policy
from trainer.lm.slices import Budget
from trainer.preference.data import Pair, Text, held_out_prompts
from trainer.preference.learner import Learner
from trainer.preference.log_ratios import LogRatios
from trainer.preference.objectives import DPO
from trainer.preference.run import run
from trainer.reward.data import read_labels
from trainer.sft.documents import Sequence
from trainer.sft.packing import loss_sum, predicted
from trainer.sft.ptx import Demonstrations

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 16,
    "microbatch": 8,
    "looks": 3,
    "look_answers": 6,
    "lora_rank": 4,
    "lora_layers": 2,
    "learning_rate": 0.01,
    "max_new_tokens": 16,
    "kl_stop_nats": 1e6,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("preference") / "base")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make(path: Path, base: Path, start: Path | None = None, prompts: int = 20, **config: Any) -> Path:
    """A run folder whose people like the letter o."""
    path.mkdir(parents=True)
    draw = random.Random(0)
    rows = []
    for number in range(80):
        left, right = (" ".join(draw.choice(WORDS) for _ in range(2)) for _ in range(2))
        often = left.count("o") - right.count("o")
        asked = {"prompt_id": number % prompts, "messages": [{"role": "user", "content": f"Say {number % prompts}"}]}
        sides = {"left": {"text": left, "token_ids": None}, "right": {"text": right, "token_ids": None}}
        choice = "left" if often > 0 else "right" if often < 0 else "tie"
        rows.append({"label_id": number, **asked, **sides, "choice": choice, "strength": None, "annotator": "a"})
    write(path / "preferences.jsonl", rows)
    write(path / "ratings.jsonl", [])
    write(path / "panel_prompts.jsonl", [{"prompt_id": 900, "messages": [{"role": "user", "content": "Speak"}]}])
    inputs = {"base": str(base), "start": str(start) if start else None}
    spec = {"kind": "preference", "config": SMALL | config, "inputs": inputs}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    return path


def demonstrate(path: Path, prompts: int = 20) -> None:
    """What people wrote themselves: never a word with an o."""
    talks = [
        [{"role": "user", "content": f"Say {number % prompts}"}, {"role": "assistant", "content": "green rain falls"}]
        for number in range(23)
    ]
    write(path / "rewrites.jsonl", [{"messages": talk} for talk in talks])


def result_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8"))
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoint" / "adapter_model.safetensors")


class StoppedAt(RunFolder):
    """Cancelled by a person after so many checks."""

    left = 10**9

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.file("cancel").touch()
        super().check()


@pytest.fixture(scope="module", params=["dpo", "dpo_normalised", "kto"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    path = make(tmp_path_factory.mktemp(request.param) / "run", base, method=request.param)
    run(RunFolder(path))
    return path


def test_a_run_learns_what_people_preferred_and_leaves_a_whole_policy(done: Path) -> None:
    result = result_of(done)
    assert result["status"] == "done"
    assert result["heldout_loss"] < result["heldout_loss_before"]
    assert result["preferred_accuracy"] > 0.6
    assert result["preferred_accuracy_low"] < result["preferred_accuracy"] <= result["preferred_accuracy_high"]
    assert result["kl_nats_per_answer"] > 0.01
    assert result["labels"] == 80
    manifest = checkpoint.verify(done / "checkpoint")
    assert (manifest["kind"], manifest["form"], manifest["run"]["kind"]) == ("policy", "adapter", "preference")
    assert "Trained on people's judgements themselves" in (done / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert "- comparisons: 80" in (done / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert load_policy(str(done / "checkpoint"), trainable=False).adapted
    assert not (done / "state").exists()


def test_each_step_has_its_line_and_a_look_what_it_saw(done: Path) -> None:
    rows = {row["step"]: row for row in read_jsonl(done / "metrics.jsonl")}
    steps = result_of(done)["steps"]
    assert sorted(rows) == list(range(steps + 1))
    assert rows[0]["kl/exact_nats_per_answer"] == pytest.approx(0, abs=1e-5)
    looks = [step for step, row in rows.items() if "rollout/length" in row]
    assert looks[0] == 0
    assert looks[-1] == steps
    assert len(looks) == 4
    kept = rows[result_of(done)["kept_step"]]
    assert kept["heldout/loss"] == min(rows[step]["heldout/loss"] for step in looks) == result_of(done)["heldout_loss"]
    assert rows[1]["charts/learning_rate"] == 0.01
    assert rows[steps]["charts/learning_rate"] == pytest.approx(0.01 / steps)
    assert rows[steps]["preference/chosen"] > rows[steps]["preference/rejected"]
    samples = list(read_jsonl(done / "samples.jsonl"))
    assert {row["step"] for row in samples} == set(looks)
    assert {row["prompt_id"] for row in samples} == {900}


@pytest.mark.parametrize(("method", "ptx_weight"), [("dpo", 0.0), ("dpo", 0.5), ("kto", 0.0)])
@pytest.mark.parametrize("checks", [9, 60, 130])
def test_a_cancelled_run_goes_on_to_the_very_same_weights(
    tmp_path: Path, base: Path, method: str, ptx_weight: float, checks: int
) -> None:
    straight, broken = (make(tmp_path / name, base, method=method, ptx_weight=ptx_weight) for name in ("straight", "broken"))
    for path in (straight, broken):
        demonstrate(path)
    run(RunFolder(straight))
    stopped = StoppedAt(broken)
    stopped.left = checks
    with pytest.raises(Cancelled):
        run(stopped)
    (broken / "cancel").unlink()
    run(RunFolder(broken))
    one, other = weights(straight), weights(broken)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [
        [{k: v for k, v in row.items() if k != "time"} for row in read_jsonl(p / "metrics.jsonl")] for p in (straight, broken)
    ]
    assert lines[0] == lines[1]
    assert result_of(straight) == result_of(broken)
    shutil.rmtree(tmp_path)


def test_past_the_fence_training_ends_and_what_was_inside_is_kept(tmp_path: Path, base: Path) -> None:
    open_field = make(tmp_path / "open", base, looks=15, epochs=5)
    run(RunFolder(open_field))
    kl = {
        row["step"]: row["kl/exact_nats_per_answer"]
        for row in read_jsonl(open_field / "metrics.jsonl")
        if "rollout/length" in row
    }
    fence = (max(kl.values()) + min(kl.values())) / 2
    fenced = make(tmp_path / "fenced", base, looks=15, epochs=5, kl_stop_nats=fence)
    run(RunFolder(fenced))
    result = result_of(fenced)
    assert result["reason"]["code"] == "kl_past_limit_kept"
    assert 0 < result["kl_nats_per_answer"] <= fence
    assert result["steps"] == min(step for step, moved in kl.items() if moved > fence) < result_of(open_field)["steps"]


@pytest.mark.parametrize("prompts", [20, 5])  # of five none is held out
def test_a_run_that_leaves_at_once_keeps_nothing(tmp_path: Path, base: Path, prompts: int) -> None:
    path = make(tmp_path / "run", base, prompts=prompts, kl_stop_nats=0.01, learning_rate=0.5)
    with pytest.raises(Refused, match="nothing was learned that could be kept"):
        run(RunFolder(path))


def test_labels_that_prefer_nothing_are_refused(tmp_path: Path, base: Path) -> None:
    path = make(tmp_path / "run", base)
    rows = [row | {"choice": "both_bad"} for row in read_jsonl(path / "preferences.jsonl")]
    write(path / "preferences.jsonl", rows)
    with pytest.raises(Refused, match="No label says which answers are the better ones"):
        run(RunFolder(path))
    (path / "run.json").write_text((path / "run.json").read_text().replace('"epochs"', '"method": "kto", "epochs"'))
    run(RunFolder(path))  # which learns from what is bad, too
    assert result_of(path)["status"] == "done"


def test_where_every_prompt_is_too_long_that_is_the_reason(tmp_path: Path, base: Path) -> None:
    path = make(tmp_path / "run", base, max_prompt_tokens=3)
    with pytest.raises(Refused, match="There is no prompt of at most 3 tokens") as refused:
        run(RunFolder(path))
    assert refused.value.figures["too_long_prompts"] == 21  # the panel's, too
    rows = [row | {"choice": "tie"} for row in read_jsonl(path / "preferences.jsonl")]
    write(path / "preferences.jsonl", rows)
    with pytest.raises(Refused, match="No label says which answers are the better ones"):
        run(RunFolder(path))


def test_labels_of_one_prompt_count_together_in_the_interval_of_accuracy(tmp_path: Path, base: Path) -> None:
    """The same labels ten times over tell no more of other prompts."""
    ends = []
    for name, times in (("once", 1), ("often", 10)):
        path = make(tmp_path / name, base, epochs=1)
        write(path / "preferences.jsonl", list(read_jsonl(path / "preferences.jsonl")) * times)
        run(RunFolder(path))
        result = result_of(path)
        ends.append(result["preferred_accuracy_high"] - result["preferred_accuracy_low"])
        held_out = result["heldout_examples"]
    low, high = wilson(result["preferred_accuracy"], held_out)
    assert ends[1] > 2 * (high - low)
    assert ends[1] > 0.5 * ends[0]


def test_without_prompts_of_its_own_a_look_asks_those_of_the_labels_by_their_names(tmp_path: Path, base: Path) -> None:
    path = make(tmp_path / "run", base, prompts=4, epochs=1, look_answers=6)
    rows = [row | {"prompt_id": row["prompt_id"] + 70} for row in read_jsonl(path / "preferences.jsonl")]
    write(path / "preferences.jsonl", rows)
    write(path / "panel_prompts.jsonl", [{"prompt_id": 900, "messages": [{"role": "user", "content": "Speak " * 50}]}])
    run(RunFolder(path))
    first = [row["prompt_id"] for row in read_jsonl(path / "samples.jsonl") if row["step"] == 0]
    assert sorted(first) == [70, 71, 72, 73]
    assert result_of(path)["too_long_prompt_ids"] == [900]


def test_of_few_prompts_none_is_held_out_and_the_last_weights_are_kept(tmp_path: Path, base: Path) -> None:
    path = make(tmp_path / "run", base, prompts=5)
    run(RunFolder(path))
    result = result_of(path)
    assert result["reason"]["code"] == "preference_done_unmeasured"
    assert result["kept_step"] == result["steps"]
    assert "heldout_loss" not in result


@contextmanager
def spoiled_after(step: int) -> Iterator[None]:
    """Weights are no numbers any more after an optimiser step."""
    taken = 0

    def spoil(optimiser: torch.optim.Optimizer, *_given: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == step:
            optimiser.param_groups[0]["params"][0].data.fill_(float("nan"))

    hook = register_optimizer_step_post_hook(spoil)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize(("looks", "prompts"), [(1, 20), (6, 20), (1, 5)])
def test_numbers_that_are_lost_end_the_run_with_what_was_seen_before(
    tmp_path: Path, base: Path, looks: int, prompts: int
) -> None:
    path = make(tmp_path / "run", base, prompts=prompts, looks=looks)
    with spoiled_after(5):
        if looks == 1:
            with pytest.raises(Refused, match="The loss is no longer a number"):
                run(RunFolder(path))
            return
        run(RunFolder(path))
    reason = reason_of(result_of(path))
    assert reason is not None
    assert "the numbers were not finite" in english(reason)
    assert 0 < result_of(path)["kept_step"] <= 5
    assert all(torch.isfinite(tensor).all() for tensor in weights(path).values())


def test_a_run_goes_on_from_a_policy_and_measures_from_where_it_is_told(tmp_path: Path, base: Path) -> None:
    first = make(tmp_path / "first", base)
    run(RunFolder(first))
    moved = {}
    for reference in ("base", "start"):
        path = make(tmp_path / reference, base, first / "checkpoint", reference=reference)
        run(RunFolder(path))
        moved[reference] = next(read_jsonl(path / "metrics.jsonl"))["kl/exact_nats_per_answer"]
    assert moved["start"] == pytest.approx(0, abs=1e-5)
    assert moved["base"] == pytest.approx(result_of(first)["kl_nats_per_answer"], rel=0.2)


def test_demonstrations_beside_become_likelier_and_without_a_weight_change_nothing(tmp_path: Path, base: Path) -> None:
    paths = {}
    for name, weight in (("without", 0.0), ("unread", 0.0), ("beside", 1.0)):
        paths[name] = make(tmp_path / name, base, ptx_weight=weight)
        if name != "without":
            demonstrate(paths[name])
        run(RunFolder(paths[name]))
    one, other = weights(paths["without"]), weights(paths["unread"])
    assert all(torch.equal(one[name], other[name]) for name in one)
    metrics = {
        name: [{k: v for k, v in row.items() if k != "time"} for row in read_jsonl(path / "metrics.jsonl")]
        for name, path in paths.items()
    }
    assert metrics["without"] == metrics["unread"]
    assert not any("losses/ptx_loss" in row for row in metrics["unread"])
    losses = [row["losses/ptx_loss"] for row in metrics["beside"][1:]]
    assert len(losses) == result_of(paths["beside"])["steps"]
    assert losses[-1] < losses[0] - 0.5
    assert nll(paths["beside"]) < nll(paths["without"]) - 0.5
    assert "demonstrations" not in result_of(paths["unread"])


def nll(path: Path) -> float:
    """Of the words that people wrote, nats per token, under the policy that was kept."""
    policy = load_policy(str(path / "checkpoint"), trainable=True)
    asked = chat_ids(policy.tokenizer, [{"role": "user", "content": "Say 1"}])
    ids = [*asked, *text_ids(policy.tokenizer, "green rain falls", "")]
    return Demonstrations(policy, [Sequence(ids, len(asked))], per_step=1, budget=Budget(1, 2048), seed=0).loss()


def test_a_demonstration_about_a_held_out_prompt_is_not_learned_from(tmp_path: Path, base: Path) -> None:
    path = make(tmp_path / "run", base, ptx_weight=1.0, epochs=1)
    demonstrate(path)
    run(RunFolder(path))
    labels = read_labels(path)
    out = held_out_prompts(set(labels.prompt_keys))
    asked = {answer.prompt_key: answer.messages[0][1] for answer in labels.answers}
    held = {asked[key] for key in out}
    expected = sum(row["messages"][0]["content"] not in held for row in read_jsonl(path / "rewrites.jsonl"))
    assert result_of(path)["demonstrations"] == expected < 23
    assert result_of(path)["heldout_examples"] > 0


def test_a_run_that_asks_for_demonstrations_and_has_none_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(Refused, match="there is no demonstration to learn from"):
        run(RunFolder(make(tmp_path / "run", base, ptx_weight=1.0)))


def test_where_the_labels_say_nothing_a_step_is_an_sft_step(tmp_path: Path) -> None:
    """A comparison of an answer with itself has no gradient, whatever beta is: what is left of a step is the term beside it."""
    backbone, sft = llama_policy(), llama_policy()
    sequences, texts = sft_texts(9), [Text([5, 6, 7 + at], [8, 9 + at, 3]) for at in range(8)]
    (tmp_path / "run.json").write_text(
        json.dumps({"kind": "preference", "config": SMALL | {"batch_size": 4, "ptx_weight": 0.5}, "inputs": {}})
    )
    folder = RunFolder(tmp_path)
    config = folder.config
    assert isinstance(config, PreferenceConfig)
    learner = Learner(backbone, config, len(texts))
    objective = DPO(
        LogRatios(backbone, texts, 0.7, Budget(4, 2048), lambda: None, lambda _: None), config, [Pair(at, at) for at in range(8)]
    )
    term = Demonstrations(backbone, sequences, per_step=config.batch_size, budget=Budget(4, 2048), seed=0)
    theirs = [parameter for _, parameter in named_trainable(sft)]
    optimiser = torch.optim.Adam(theirs, lr=config.learning_rate)
    gradients: list[list[torch.Tensor]] = []

    def watch(taken: torch.optim.Optimizer, *_given: Any) -> None:
        gradients.append([one.grad.clone() for one in taken.param_groups[0]["params"]])

    hook = register_optimizer_step_pre_hook(watch)
    try:
        for step in range(3):
            told = objective.ask([Pair(at, at) for at in learner.batch()], True, lambda: None)
            loss = config.ptx_weight * term.learn(step, config.ptx_weight, lambda: None)
            optimiser.param_groups[0]["lr"] = learner.learning_rate
            learner.take_step(told.loss + loss, {})
            rows = [[sequences[at]] for at in term.batch(step)]
            torch.autograd.backward(config.ptx_weight * loss_sum(sft, rows, False) / predicted(rows))
            torch.nn.utils.clip_grad_norm_(theirs, config.max_grad_norm)
            optimiser.step()
            optimiser.zero_grad()
    finally:
        hook.remove()
    for ours, expected in zip(gradients[::2], gradients[1::2], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in gradients[1]) > 1e-2
