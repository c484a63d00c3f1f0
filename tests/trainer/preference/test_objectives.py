"""What a batch says, and that micro-batches change neither that nor a gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.preference.test_log_ratios import texts
from tests.trainer.tiny import disturb, llama_policy
from trainer.contract.config import PreferenceConfig
from trainer.lm.backbone import Backbone, named_trainable
from trainer.lm.slices import Budget
from trainer.preference.data import Pair, Single
from trainer.preference.log_ratios import LogRatios
from trainer.preference.objectives import DPO, KTO, Said

PAIRS = [Pair(0, 1), Pair(2, 3), Pair(5, 4), Pair(0, 6), Pair(7, 8)]
SINGLES = [Single(0, True, 4), Single(1, False, 5), Single(2, True, 6), Single(3, True, 7), Single(6, False, 8)]


def asked(method: str, microbatch: int, learn: bool = True, only: slice = slice(None)) -> tuple[Said, list[Tensor], Backbone]:
    backbone = llama_policy()
    disturb(backbone)
    config = PreferenceConfig(method=method, microbatch=microbatch, beta=0.5)
    ratios = LogRatios(backbone, texts(), 0.7, Budget(4, 2048), lambda: None, lambda _: None)
    examples: Any = SINGLES if method == "kto" else PAIRS
    objective: Any = (KTO if method == "kto" else DPO)(ratios, config, examples)
    said = objective.ask(examples[only], learn, lambda: None)
    return said, [parameter.grad for _, parameter in named_trainable(backbone) if parameter.grad is not None], backbone


@pytest.mark.parametrize("method", ["dpo", "dpo_normalised", "kto"])
def test_micro_batches_change_no_step(method: str) -> None:
    whole, gradients, _ = asked(method, 100)
    parts, same, _ = asked(method, 2)
    assert parts.figures == pytest.approx(whole.figures, abs=1e-5)
    assert gradients
    for one, other in zip(gradients, same, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("method", ["dpo", "dpo_normalised", "kto"])
def test_who_only_asks_leaves_no_gradient(method: str) -> None:
    learned, _, _ = asked(method, 4)
    said, gradients, _ = asked(method, 4, learn=False)
    assert gradients == []
    assert said.figures == pytest.approx(learned.figures, abs=1e-6)


@pytest.mark.parametrize("method", ["dpo", "dpo_normalised"])
def test_hits_are_told_in_the_order_in_which_examples_were_given(method: str) -> None:
    whole, _, _ = asked(method, 2, learn=False)
    assert whole.hits is not None
    alone = [asked(method, 2, learn=False, only=slice(at, at + 1))[0].accuracy for at in range(len(PAIRS))]
    assert whole.hits.tolist() == alone
    assert len(set(alone)) == 2
    assert whole.accuracy == pytest.approx(sum(alone) / len(alone))


def test_ktos_hits_are_in_order_too() -> None:
    """By its rule, from the log-ratios of each answer: better than the reference point for a good one, worse for another."""
    said, _, backbone = asked("kto", 2, learn=False)
    found = LogRatios(backbone, texts(), 0.7, Budget(4, 2048), lambda: None, lambda _: None).of(
        torch.tensor([one.answer for one in SINGLES])
    )
    assert said.kl_reference is not None
    assert said.hits is not None
    right = [(gain > said.kl_reference) == one.desirable for gain, one in zip(found.tolist(), SINGLES, strict=True)]
    assert said.hits.tolist() == right
    assert len(set(right)) == 2


def test_a_step_of_dpo_makes_chosen_answers_likelier_than_rejected_ones() -> None:
    said, _, backbone = asked("dpo", 4)
    with torch.no_grad():
        for _, parameter in named_trainable(backbone):
            assert parameter.grad is not None
            parameter.sub_(0.02 * parameter.grad)
    config = PreferenceConfig(beta=0.5)
    # the reference is the base, which no step moves
    again = DPO(LogRatios(backbone, texts(), 0.7, Budget(4, 2048), lambda: None, lambda _: None), config, PAIRS).ask(
        PAIRS, False, lambda: None
    )
    assert again.loss < said.loss
    assert again.chosen - again.rejected > said.chosen - said.rejected


def test_kto_says_by_which_point_it_counted_and_has_no_mean_of_nothing() -> None:
    said, _, _ = asked("kto", 4, only=slice(0, 1))
    assert said.kl_reference is not None
    assert said.kl_reference >= 0
    assert math.isnan(said.rejected)
    assert math.isfinite(said.chosen)


@pytest.mark.parametrize("method", ["dpo", "dpo_normalised", "kto"])
def test_a_policy_that_has_not_moved_is_right_by_halves(method: str) -> None:
    backbone = llama_policy()
    config = PreferenceConfig(method=method, beta=0.5)
    ratios = LogRatios(backbone, texts(), 0.7, Budget(4, 2048), lambda: None, lambda _: None)
    examples: Any = SINGLES if method == "kto" else PAIRS
    objective: Any = (KTO if method == "kto" else DPO)(ratios, config, examples)
    ratios.of = lambda rows: torch.zeros(len(rows))  # type: ignore[method-assign]
    assert objective.ask(examples, False, lambda: None).accuracy == 0.5
