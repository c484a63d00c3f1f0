"""From log-probabilities, scores and values to advantages: pure functions, no model, no files.

Every tensor is (B, T): B answers, T the longest answer's tokens. `mask` is bool and True on the tokens the policy chose, up to
and including EOS; it comes from lengths, never from `ids != pad`. Symbols and papers: docs/math.md.
"""

from __future__ import annotations

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """`log p - log q` at tokens sampled from p: unbiased for KL(p || q), may be negative. (B, T) nats.

    The estimator for a penalty in the reward: its policy gradient is the gradient of the KL (arXiv 2506.09477).
    """
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """`(log p - log q)^2 / 2`, (B, T) nats: biased in value, but as a *loss* its gradient is unbiased."""
    return (logprobs - reference_logprobs).square() / 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """`q/p - 1 - log(q/p)`, (B, T) nats: unbiased and never negative, so a good *measurement*; its gradient is biased, both ways.

    Schulman, "Approximating KL Divergence", 2020.
    """
    log_ratio = reference_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def shaped_rewards(kl: Tensor, scores: Tensor, mask: Tensor, beta: float) -> Tensor:
    """`-beta * kl_t` at every token, plus the answer's score at its last chosen token. (B, T).

    kl: (B, T) nats, the k1 estimate per token. scores: (B,). Ziegler et al. 2019, arXiv:1909.08593, eq. 2.
    Raises ValueError on an answer without tokens, which has no place for its score.
    """
    lengths = mask.sum(dim=1)
    if (lengths == 0).any():
        raise ValueError("every answer needs at least one token")
    rewards = torch.where(mask, -beta * kl, torch.zeros_like(kl))
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    rewards[torch.arange(len(last)), last] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the returns `advantage + value` they imply; both (B, T), 0 outside the mask.

    values[:, t] is V of the state *before* token t; the value after the last token is 0: the episode ends there, cut or not.
    Schulman et al. 2016, arXiv:1506.02438, eq. 16.
    """
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    advantages = torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        advantages[:, t] = torch.where(mask[:, t], advantage, 0.0)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        next_advantage = torch.where(mask[:, t], advantage, next_advantage)
    return advantages, torch.where(mask, advantages + values, 0.0)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the masked entries of the *whole* rollout, 0 elsewhere. (B, T).

    Never per micro-batch, whose mean would depend on how the work was cut. Equal entries become 0.
    """
    chosen = values[mask]
    scaled = (values - chosen.mean()) * (chosen.var(correction=0) + 1e-8).rsqrt()
    return torch.where(mask, scaled, 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the masked entries; a scalar. Raises ValueError on an empty mask, whose mean would be NaN."""
    if not mask.any():
        raise ValueError("the mask is empty")
    return values[mask].mean()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over the mask: 1 is perfect, a constant earns 0; NaN without variance."""
    variance = returns[mask].var(correction=0)
    if variance == 0:
        return float("nan")
    return float(1 - (returns - values)[mask].var(correction=0) / variance)


def adapted_beta(beta: float, kl_nats: float, target_nats: float, answers: int, horizon: int) -> float:
    """The KL weight after one rollout of `answers` answers whose mean KL was `kl_nats` per answer.

    A proportional controller on the relative error, cut at +-20 %. Ziegler et al. 2019, arXiv:1909.08593, section 2.2.
    """
    error = min(max(kl_nats / target_nats - 1, -0.2), 0.2)
    return beta * (1 + error * answers / horizon)
