"""The next-token term beside another loss: value and gradient by hand and as an sft run has them, order, what is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.sft.test_packing import gpt2, texts
from tests.trainer.tiny import disturb, llama_policy, simple_policy
from trainer.contract.config import PreferenceConfig
from trainer.contract.folder import Refused, RunFolder
from trainer.lm import forward
from trainer.lm.backbone import Backbone, attach_lora, trainable_parameters
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.lm.slices import Budget
from trainer.sft.documents import Sequence
from trainer.sft.packing import loss_sum, predicted
from trainer.sft.ptx import Demonstrations, read_demonstrations

pytestmark = pytest.mark.usefixtures("one_thread")

Figures = tuple[float, list[Tensor]]


def gpt2_policy() -> Backbone:
    backbone = gpt2()
    backbone.model.requires_grad_(False)
    attach_lora(backbone, rank=4, layers=0, seed=0)
    return backbone


POLICIES: dict[str, Callable[[], Backbone]] = {
    "llama": llama_policy,
    "simple": lambda: simple_policy(vocab=40, eos=2),
    "gpt2": gpt2_policy,
}


def some(backbone: Backbone, sequences: list[Sequence], per_step: int = 100, size: int = 4, seed: int = 0) -> Demonstrations:
    return Demonstrations(backbone, sequences, per_step=per_step, budget=Budget(size, 2048), seed=seed)


def gradients(backbone: Backbone) -> list[Tensor]:
    found = [parameter.grad for parameter in trainable_parameters(backbone) if parameter.grad is not None]
    assert len(found) == len(trainable_parameters(backbone))
    return [gradient.clone() for gradient in found]


def learned(backbone: Backbone, term: Demonstrations, weight: float = 1.0, step: int = 0) -> Figures:
    backbone.model.zero_grad()
    loss = term.learn(step, weight, lambda: None)
    return loss, gradients(backbone)


def sft_step(backbone: Backbone, sequences: list[Sequence]) -> Figures:
    """What an sft run does with these in one step."""
    backbone.model.zero_grad()
    rows = [[one] for one in sequences]
    loss = loss_sum(backbone, rows, False) / predicted(rows)
    torch.autograd.backward(loss)
    return float(loss.detach()), gradients(backbone)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_term_is_the_loss_of_an_sft_step_and_its_gradient(policy: Callable[[], Backbone]) -> None:
    backbone, sequences = policy(), texts(9)
    disturb(backbone)
    expected, theirs = sft_step(backbone, sequences)
    loss, ours = learned(backbone, some(backbone, sequences))
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in theirs) > 1e-2


def test_the_gradient_is_the_sum_worked_out_by_hand() -> None:
    """Where all logits are a bias of zeros, p = 1/V, and the gradient of the mean loss is 1/V less the share of each token."""
    backbone = simple_policy(vocab=8, eos=2, uniform=True)
    sequences = [Sequence([5, 6, 3, 3, 4], 2), Sequence([5, 7, 3], 1), Sequence([1, 0], 1)]  # said: 3 3 4, 7 3, 0
    backbone.model.zero_grad()
    loss = some(backbone, sequences).learn(0, 0.25, lambda: None)
    assert loss == pytest.approx(torch.tensor(8.0).log().item(), rel=1e-6)
    found = backbone.plain.head.bias.grad
    assert isinstance(found, Tensor)
    shares = torch.tensor([1.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 1.0]) / 6
    torch.testing.assert_close(found, 0.25 * (1 / 8 - shares), atol=1e-7, rtol=0)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_micro_batches_and_the_record_of_the_trunk_change_neither_loss_nor_gradient(
    policy: Callable[[], Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, sequences = policy(), texts(9)
    disturb(backbone)
    whole, gradient = learned(backbone, some(backbone, sequences, per_step=5, size=9))
    for size, most in ((1, 2**30), (3, 2**30), (9, 0)):
        monkeypatch.setattr(forward, "MOST_KEPT", most)
        loss, other = learned(backbone, some(backbone, sequences, per_step=5, size=size))
        assert loss == pytest.approx(whole, rel=1e-5)
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-5)


def test_the_weight_multiplies_the_gradient_and_not_the_loss_that_is_told() -> None:
    backbone = llama_policy()
    disturb(backbone)
    term = some(backbone, texts(5))
    (one, single), (other, triple) = learned(backbone, term), learned(backbone, term, weight=3.0)
    assert one == other == pytest.approx(term.loss(), rel=1e-5)
    torch.testing.assert_close(triple, [3 * gradient for gradient in single], rtol=1e-4, atol=1e-6)


def test_each_is_learned_once_before_any_comes_again_in_an_order_that_follows_from_the_step() -> None:
    backbone = llama_policy()
    term = some(backbone, texts(7), per_step=3)
    met = torch.cat([term.batch(step) for step in range(14)])  # six times through
    epochs = torch.split(met, 7)
    assert all(sorted(epoch.tolist()) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 6
    again = some(backbone, texts(7), per_step=3)
    assert all(torch.equal(again.batch(step), met[3 * step : 3 * step + 3]) for step in (11, 2, 5))
    assert not torch.equal(torch.cat([some(backbone, texts(7), per_step=3, seed=1).batch(s) for s in range(3)]), met[:9])


def test_of_few_demonstrations_all_are_learned_in_each_step() -> None:
    backbone = llama_policy()
    term = some(backbone, texts(4), per_step=16)
    assert all(sorted(term.batch(step).tolist()) == [0, 1, 2, 3] for step in range(5))
    assert term.figures == {"demonstrations": 4, "cut_demonstrations": 0}


def folder_with(path: Path, asked: list[str], answers: list[str], **config: Any) -> RunFolder:
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({"kind": "preference", "config": config, "inputs": {}}), encoding="utf-8")
    if asked:
        talks = [
            [{"role": "user", "content": one}, {"role": "assistant", "content": answer}]
            for one, answer in zip(asked, answers, strict=True)
        ]
        (path / "rewrites.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks), encoding="utf-8")
    return RunFolder(path)


def read(
    folder: RunFolder, base: Path, left_out: LeftOut | None = None, held_out: Callable[[Any], bool] = lambda _turns: False
) -> Demonstrations | None:
    config = folder.config
    assert isinstance(config, PreferenceConfig)
    return read_demonstrations(folder, config, load_backbone(str(base)), 4, LeftOut() if left_out is None else left_out, held_out)


def test_a_run_that_asks_for_none_reads_none(tmp_path: Path, llama_folder: Path) -> None:
    assert read(folder_with(tmp_path, ["Hi"], ["Hello"]), llama_folder) is None


def test_a_run_that_asks_for_some_and_has_none_is_refused_by_the_settings_name(tmp_path: Path, llama_folder: Path) -> None:
    with pytest.raises(Refused, match="“Weight of demonstrations” is more than 0, and there is no demonstration"):
        read(folder_with(tmp_path / "none", [], [], ptx_weight=1.0), llama_folder)
    long = folder_with(tmp_path / "long", ["Hi " * 300], ["Hello"], ptx_weight=1.0)
    left_out = LeftOut()
    with pytest.raises(Refused, match="or none of these rewrites fits") as refused:
        read(long, llama_folder, left_out)
    assert refused.value.figures["too_long_prompt_ids"] == ["rewrites.jsonl:1"]


def test_what_is_left_out_cut_or_held_out_is_not_learned_and_told(tmp_path: Path, llama_folder: Path) -> None:
    asked, answers = ["A", "B", "C", "Hi " * 300], ["one", "Hi " * 300, "three", "four"]
    folder = folder_with(tmp_path, asked, answers, ptx_weight=1.0)
    left_out = LeftOut()
    found = read(folder, llama_folder, left_out, lambda turns: turns[-1]["content"] == "A")
    assert found is not None
    assert found.figures == {"demonstrations": 2, "cut_demonstrations": 1}
    assert left_out.figures["too_long_prompt_ids"] == ["rewrites.jsonl:4"]
