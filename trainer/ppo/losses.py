"""PPO's losses: pure functions of (B, T) tensors, as sums over tokens divided by the tokens of the whole optimiser step.

`mask` is bool, True on the tokens the policy chose, up to and including EOS. `tokens` is the number of such tokens in the
optimiser step: a step cut into micro-batches, or over processes, adds up to the same gradient however it was cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def policy_loss(
    logprobs: Tensor,  # (B, T) nats, under the policy being trained
    old_logprobs: Tensor,  # (B, T) nats, under the policy that sampled; constant
    advantages: Tensor,  # (B, T) scaled over the whole rollout; constant
    mask: Tensor,  # (B, T) bool
    clip: float,  # 0.2 lets the ratio count from 0.8 to 1.2
    tokens: int,  # tokens of the optimiser step
) -> Tensor:
    """PPO's clipped objective, negated so that lower is better; a scalar.

    Schulman et al. 2017, arXiv:1707.06347, eq. 7. Raises ValueError when `tokens` is 0, whose mean would be NaN.
    """
    ratio = _kept(logprobs - old_logprobs, mask).exp()
    gain = _kept(advantages, mask)
    return torch.maximum(-gain * ratio, -gain * ratio.clamp(1 - clip, 1 + clip)).sum() / _counted(tokens)


def value_loss(
    values: Tensor,  # (B, T) predictions of the value head being trained
    old_values: Tensor,  # (B, T) its predictions at rollout; constant
    returns: Tensor,  # (B, T) unwhitened advantages plus old values; constant
    mask: Tensor,  # (B, T) bool
    clip: float,  # how far a value may move from its rollout estimate and still gain
    tokens: int,  # tokens of the optimiser step
) -> Tensor:
    """Half the squared error, the larger of plain and clipped; a scalar.

    The clipping of OpenAI's baselines, "The 37 implementation details of PPO", item 9. Raises ValueError when `tokens` is 0.
    """
    target = _kept(returns - old_values, mask)
    move = _kept(values - old_values, mask)
    return 0.5 * torch.maximum((move - target).square(), (move.clamp(-clip, clip) - target).square()).sum() / _counted(tokens)


def clipped_share(changes: Tensor, clip: float) -> Tensor:
    """The share of entries of a flat tensor further than `clip` from 0; a scalar."""
    return (changes.abs() > clip).float().mean()


def _kept(entries: Tensor, mask: Tensor) -> Tensor:
    """The entries inside the mask, zeros outside: multiplying by the mask would let an inf in the padding through as NaN."""
    return torch.where(mask, entries, 0.0)


def _counted(tokens: int) -> int:
    if tokens <= 0:
        raise ValueError("an optimiser step needs at least one token")
    return tokens
