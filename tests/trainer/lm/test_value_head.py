"""What the value head says, where it begins, and that training and rollout ask it alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainer.ppo.ppo_runs import POLICIES, PROMPTS, SMALL, even_share, learn, move_adapters, move_value_head
from tests.trainer.tiny import llama_policy
from trainer.contract.config import PPOConfig
from trainer.lm.backbone import Backbone, named_trainable
from trainer.lm.forward import response_logprobs
from trainer.lm.generate import Generated
from trainer.lm.value_head import ValueHead
from trainer.ppo.evaluate_rollout import evaluate
from trainer.ppo.learner import Learner, keep
from trainer.ppo.reward import Rule

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_every_answer_earns_alike_changes_no_step(tmp_path: Path) -> None:
    """The value head starts at the first rollout's mean, so that a reward of mean 3 teaches what one of mean 0 teaches."""
    policies = []
    for number, alike in enumerate((0.0, 3.0)):
        policies.append(llama_policy())
        score = lambda prompts, answers, alike=alike: even_share(prompts, answers) + alike  # noqa: E731
        learn(tmp_path / str(number), policies[-1], score=score, updates=1, length_control="off")
    for (name, one), (_, other) in zip(*map(named_trainable, policies), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3, msg=name)  # a step moves a weight by up to 0.01


@pytest.mark.parametrize(("update", "expected"), [(0, 0.0), (1, 7.0)])
def test_the_value_head_begins_at_the_mean_return_once(update: int, expected: float) -> None:
    backbone = llama_policy()
    move_adapters(backbone)
    config = PPOConfig(**(SMALL | {"beta": 0.1}))
    learner = Learner(backbone, config, len(PROMPTS))
    learner.update = update
    learner.value_head.begin_at(7.0)
    answers = [Generated([3 + row, 4, 5 + row], "eos") for row in range(8)]
    found = evaluate(learner, config, Rule(even_share), PROMPTS[:8], answers, None, lambda: None).measured
    if update == 0:
        expected = float((found.scores - 0.1 * (found.logprobs - found.ref_logprobs).sum(1)).mean())
        assert expected != pytest.approx(float(found.scores.mean()), abs=1e-4)
    assert found.values[found.mask].tolist() == pytest.approx([expected] * 24, abs=1e-5)


def test_a_value_is_linear_in_the_state_and_in_the_sum_of_those_so_far() -> None:
    head, draw = ValueHead(4, 8), torch.Generator().manual_seed(0)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw)
    states = torch.randn(2, 3, 4, generator=draw)
    normed = (states - states.mean(-1, keepdim=True)) / (states.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    (own,), (so_far,) = head.out.weight, head.so_far.weight
    for row in range(2):
        for token in range(3):
            wanted = normed[row, token] @ own + head.out.bias + normed[row, : token + 1].sum(0) / 8 @ so_far
            torch.testing.assert_close(head(states)[row, token], wanted[0])


@pytest.mark.parametrize("microbatch", [3, 8])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_values_are_measured_as_training_computes_them(policy: Callable[[], Backbone], microbatch: int) -> None:
    backbone = policy()
    config = PPOConfig(**(SMALL | {"microbatch": microbatch}))
    learner = Learner(backbone, config, len(PROMPTS))
    learner.update = 1  # the head has begun
    move_adapters(backbone)
    move_value_head(learner)
    answers = [Generated(list(range(3, 4 + row % 6)), "eos") for row in range(8)]

    rollout = evaluate(learner, config, Rule(even_share), PROMPTS[:8], answers, None, lambda: None)

    found, states = rollout.measured, response_logprobs(backbone, rollout.packed, config.temperature).states
    with torch.no_grad():
        wanted = torch.where(found.mask, learner.value_head(states), 0.0)
    assert float(wanted[found.mask].std()) > 0.1
    torch.testing.assert_close(found.values, wanted, rtol=1e-4, atol=1e-4)


def test_a_state_left_by_another_value_head_is_not_taken_up(tmp_path: Path) -> None:
    learner = Learner(llama_policy(), PPOConfig(**SMALL), len(PROMPTS))
    learner.update = 3
    snapshot = learner.snapshot()
    keep(tmp_path / "new", snapshot)
    del snapshot["value_head"]["so_far.weight"]
    keep(tmp_path / "old", snapshot)

    fresh = Learner(llama_policy(), PPOConfig(**SMALL), len(PROMPTS))

    assert (fresh.resume(tmp_path / "old"), fresh.update) == (False, 0)
    assert (fresh.resume(tmp_path / "new"), fresh.update) == (True, 3)
