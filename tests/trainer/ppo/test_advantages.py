"""Advantages against brute force, hand-worked numbers and enumerated gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.contract.config import ConfigError, PPOConfig
from trainer.ppo.advantages import (
    ESTIMATORS,
    adapted_beta,
    explained_variance,
    gae,
    grpo,
    k1,
    k3,
    masked_mean,
    reinforce,
    rloo,
    scaled,
    shaped_rewards,
    whiten,
    with_potentials,
)


def brute_force_gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Equation 16 as a double sum, one answer and one token at a time."""
    advantages = torch.zeros_like(values)
    for b in range(len(values)):
        steps = [t for t in range(values.shape[1]) if mask[b, t]]
        for i, t in enumerate(steps):
            total = 0.0
            for j in range(i, len(steps)):
                following = float(values[b, steps[j + 1]]) if j + 1 < len(steps) else 0.0
                delta = float(rewards[b, steps[j]]) + gamma * following - float(values[b, steps[j]])
                total += (gamma * lam) ** (j - i) * delta
            advantages[b, t] = total
    return advantages


def test_gae_of_the_hand_worked_answer() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.1, 0.2, 0.3]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), torch.zeros(1), gamma=1.0, gae_lambda=0.95)
    torch.testing.assert_close(advantages, torch.tensor([[0.82675, 0.765, 0.7]]))
    torch.testing.assert_close(returns, torch.tensor([[0.92675, 0.965, 1.0]]))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (0.99, 0.0)])
def test_gae_equals_the_double_sum_under_random_masks(gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 20, 9, generator=generator, dtype=torch.float64)
    mask = torch.rand(20, 9, generator=generator) < 0.6
    advantages, returns = gae(rewards, values, mask, torch.zeros(20), gamma, lam)
    expected = brute_force_gae(rewards, values, mask, gamma, lam)
    torch.testing.assert_close(advantages, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(returns, torch.where(mask, expected + values, 0.0), rtol=1e-12, atol=1e-12)


def test_reinforce_is_what_came_after_less_the_value_before() -> None:
    rewards, values = torch.tensor([[0.5, 0.0, 1.0, 9.0]]), torch.tensor([[0.1, 0.2, 0.3, 9.0]])
    mask = torch.tensor([[True, True, True, False]])
    advantages, returns = reinforce(rewards, values, mask, torch.zeros(1), gamma=0.5, gae_lambda=0.3)
    torch.testing.assert_close(returns, torch.tensor([[0.75, 0.5, 1.0, 0.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[0.65, 0.3, 0.7, 0.0]]))


def test_rloo_compares_an_answer_with_the_others_to_its_prompt() -> None:
    rewards = torch.tensor([[0.0, 3.0], [1.0, 7.0], [-1.0, 2.0], [5.0, 9.0], [1.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, False], [True, True]])
    prompts = torch.tensor([4, 4, 9, 9, 4])  # returns 3, 1 and 1 of one prompt, 1 and 5 of the other
    advantages, returns = rloo(rewards, torch.full((5, 2), 8.0), mask, prompts, gamma=1.0, gae_lambda=0.95)
    torch.testing.assert_close(advantages, torch.tensor([[2.0, 2.0], [-1.0, 0.0], [-4.0, -4.0], [4.0, 0.0], [-1.0, -1.0]]))
    torch.testing.assert_close(returns, torch.tensor([[3.0, 3.0], [1.0, 0.0], [1.0, 2.0], [5.0, 0.0], [1.0, 0.0]]))


def test_rloo_over_every_pair_of_samples_follows_the_true_gradient() -> None:
    """Of 5 outcomes; the baseline of a sample must not depend on it, or the expectation would be off."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    score = torch.randn(5, generator=generator, dtype=torch.float64)
    logprobs = logits.log_softmax(0)
    (true,) = torch.autograd.grad((logprobs.exp() * score).sum(), logits, retain_graph=True)
    expected = torch.zeros(5, dtype=torch.float64)
    mask = torch.ones(2, 1, dtype=torch.bool)
    for first in range(5):
        for second in range(5):
            pair = torch.tensor([first, second])
            advantages, _ = rloo(score[pair][:, None], torch.zeros(2, 1, dtype=torch.float64), mask, torch.zeros(2), 1.0, 1.0)
            (gradient,) = torch.autograd.grad((logprobs[pair] * advantages[:, 0]).mean(), logits, retain_graph=True)
            expected += logprobs[pair].sum().exp().detach() * gradient
    torch.testing.assert_close(expected, true, rtol=1e-12, atol=1e-12)


def test_grpo_counts_in_deviations_of_the_answers_to_the_same_prompt() -> None:
    """Returns 3, 1 and 2 of one prompt: mean 2, deviation sqrt(2/3); 1 and 5 of the other: mean 3, deviation 2."""
    rewards = torch.tensor([[0.0, 3.0], [1.0, 7.0], [-1.0, 2.0], [5.0, 9.0], [2.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, False], [True, True]])
    prompts = torch.tensor([4, 4, 9, 9, 4])
    advantages, returns = grpo(rewards, torch.full((5, 2), 8.0), mask, prompts, gamma=1.0, gae_lambda=0.95)
    far = 1.224745  # 1 / sqrt(2/3)
    expected = torch.tensor([[far, far], [-far, 0.0], [-1.0, -1.0], [1.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(advantages, expected, rtol=2e-4, atol=0)  # a deviation counts as 1e-4 more than it is
    torch.testing.assert_close(returns, torch.tensor([[3.0, 3.0], [1.0, 0.0], [1.0, 2.0], [5.0, 0.0], [2.0, 0.0]]))


def test_grpo_asks_nothing_of_answers_that_earned_the_same() -> None:
    """So that the policy at which every answer earns beta log Z is where it stays, whatever the size of a group."""
    mask = torch.ones(4, 3, dtype=torch.bool)
    nearly = torch.tensor([[0.1, 0.2, 0.4]] * 4) + 1e-7 * torch.tensor([[1.0], [-1.0], [0.0], [0.0]])
    advantages, _ = grpo(nearly, torch.zeros(4, 3), mask, torch.zeros(4), gamma=1.0, gae_lambda=1.0)
    assert advantages.abs().max() < 0.01
    assert scaled("grpo", advantages, mask).abs().max() < 0.01  # nor once the loss takes them


def test_grpo_of_a_score_and_a_kl_weight_that_grow_together_is_the_same() -> None:
    generator = torch.Generator().manual_seed(4)
    kl, values = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    scores, prompts = torch.randn(6, generator=generator, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 1])
    mask = torch.arange(5) < torch.tensor([[1], [4], [5], [2], [3], [5]])
    small, large = (
        grpo(shaped_rewards(0.5 * scale * kl, scores * scale, mask), values, mask, prompts, 1.0, 1.0)[0] for scale in (1.0, 30.0)
    )
    torch.testing.assert_close(small, large, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "compare"), [("rloo", rloo), ("grpo", grpo)])
def test_answers_that_are_compared_need_another_when_it_is_set_and_when_it_is_asked(name: str, compare: Any) -> None:
    with pytest.raises(ConfigError, match="answers_per_prompt: answers_are_compared"):
        PPOConfig(advantage=name)
    with pytest.raises(ConfigError, match="answers_per_prompt: must_divide"):
        PPOConfig(answers_per_prompt=5)
    with pytest.raises(ValueError, match="at least two answers"):
        compare(torch.ones(2, 1), torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool), torch.tensor([1, 2]), 1.0, 0.95)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_stands_after_eos_changes_no_advantage(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([1, 4, 7, 3])
    mask = torch.arange(7) < lengths[:, None]
    kl, values = torch.randn(2, 4, 7, generator=generator)
    scores = torch.randn(4, generator=generator)

    def all_of_it(kl: Tensor, values: Tensor) -> list[Tensor]:
        rewards = shaped_rewards(0.3 * kl, scores, mask)
        advantages, returns = ESTIMATORS[name](rewards, values, mask, torch.tensor([0, 1, 0, 1]), 1.0, 0.95)
        return [rewards, advantages, returns, whiten(advantages, mask)]

    clean = all_of_it(kl, values)
    noise = torch.where(mask, 0.0, float("inf"))
    for before, after in zip(clean, all_of_it(kl + noise, values - noise), strict=True):
        assert torch.equal(before, after)


def test_the_score_falls_on_the_last_chosen_token() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    rewards = shaped_rewards(0.2 * torch.full((3, 3), 0.5), torch.tensor([1.0, 2.0, 3.0]), mask)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 0.9, 0.0], [-0.1, -0.1, 1.9], [2.9, 0.0, 0.0]]))


def test_what_is_paid_on_the_way_is_taken_back_at_the_end_and_is_a_baseline_by_another_name() -> None:
    generator = torch.Generator().manual_seed(5)
    rewards, values, potentials = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[1], [4], [7], [3]])
    rewards, values = (torch.where(mask, some, 0.0) for some in (rewards, values))
    potentials = torch.where(mask & (torch.arange(7) > 0), potentials, 0.0)
    paid = with_potentials(rewards, potentials, mask, 1.0)
    torch.testing.assert_close(paid.sum(1), rewards.sum(1))
    assert torch.equal(paid[~mask], torch.zeros(int((~mask).sum()), dtype=torch.float64))
    nobody = torch.empty(0)
    here, usual = gae(rewards, values, mask, nobody, 0.9, 0.8)
    there, returns = gae(with_potentials(rewards, potentials, mask, 0.9), values - potentials, mask, nobody, 0.9, 0.8)
    torch.testing.assert_close(there, here)
    torch.testing.assert_close(torch.where(mask, returns + potentials, 0.0), usual)


def test_what_is_paid_on_the_way_by_hand() -> None:
    mask = torch.tensor([[True, True, True, False]])
    paid = with_potentials(torch.tensor([[0.0, 0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.25, 0.75, 9.0]]) * mask, mask, 1.0)
    torch.testing.assert_close(paid, torch.tensor([[0.25, 0.5, 0.25, 0.0]]))


def test_an_answer_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        shaped_rewards(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="empty"):
        masked_mean(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))


def test_whitening_is_over_the_valid_tokens_only() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    white = whiten(torch.tensor([[1.0, 2.0, 99.0], [6.0, -99.0, 7.0]]), mask)
    torch.testing.assert_close(white[mask], torch.tensor([-2.0, -1.0, 3.0]) / math.sqrt(14 / 3))
    assert (white[~mask] == 0).all()
    assert (whiten(torch.full((2, 3), 5.0), mask) == 0).all()


def test_explained_variance() -> None:
    mask = torch.tensor([[True, True, True, False]])
    returns = torch.tensor([[1.0, 2.0, 3.0, 50.0]])
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(torch.full((1, 4), 2.0), returns, mask) == 0
    assert math.isnan(explained_variance(returns, torch.ones(1, 4), mask))


@pytest.mark.parametrize(("kl", "beta"), [(9.0, 0.151536), (3.0, 0.148464), (6.6, 0.150768), (6.0, 0.15)])
def test_beta_moves_towards_the_target(kl: float, beta: float) -> None:
    assert adapted_beta(0.15, kl, target_nats=6.0, answers=512, horizon=10_000) == pytest.approx(beta, abs=1e-12)


class TestKLEstimatorsByEnumeration:
    """Six outcomes, so that every expectation is a sum and every gradient exact (arXiv 2506.09477)."""

    def setup_method(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self.logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
        self.reference = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
        self.logprobs = self.logits.log_softmax(0)
        self.probs = self.logprobs.exp().detach()
        exact = (self.logprobs.exp() * (self.logprobs - self.reference)).sum()
        self.kl, self.gradient = exact.detach(), self.grad(exact)

    def grad(self, scalar: Tensor) -> Tensor:
        return torch.autograd.grad(scalar, self.logits, retain_graph=True)[0]

    def in_reward(self, estimate: Tensor) -> Tensor:
        """E[ grad log p * estimate ]: what REINFORCE and PPO follow when the estimate is a (constant) penalty in the reward."""
        return self.grad((self.probs * self.logprobs * estimate.detach()).sum())

    def in_loss(self, estimate: Tensor) -> Tensor:
        """E[ grad estimate ]: what differentiating through the estimate at sampled tokens follows."""
        return self.grad((self.probs * estimate).sum())

    def test_k1_and_k3_are_unbiased_in_value(self) -> None:
        for estimate in (k1, k3):
            value = (self.probs * estimate(self.logprobs, self.reference)).sum()
            torch.testing.assert_close(value, self.kl, rtol=1e-12, atol=1e-12)
        assert (k3(self.logprobs, self.reference) >= 0).all()

    def test_k1_in_the_reward_gives_the_true_gradient(self) -> None:
        torch.testing.assert_close(self.in_reward(k1(self.logprobs, self.reference)), self.gradient, rtol=1e-12, atol=1e-12)

    def test_the_other_placements_do_not(self) -> None:
        wrong = [
            self.in_reward(k3(self.logprobs, self.reference)),
            self.in_loss(k3(self.logprobs, self.reference)),
        ]
        for gradient in wrong:
            assert (gradient - self.gradient).abs().max() > 0.01
        assert self.in_loss(k1(self.logprobs, self.reference)).abs().max() < 1e-12

    def test_k3_in_the_loss_follows_the_kl_the_other_way_round(self) -> None:
        """KL(q || p): so GRPO's own form holds a policy to something else than what the guards count."""
        other = self.grad((self.reference.exp() * (self.reference - self.logprobs)).sum())
        torch.testing.assert_close(self.in_loss(k3(self.logprobs, self.reference)), other, rtol=1e-12, atol=1e-12)
