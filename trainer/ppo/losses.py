"""PPO's losses: pure functions of (B, T) tensors, as sums over tokens divided by the tokens of the whole optimiser step.

`mask` is bool, True on the tokens the policy chose, up to and including EOS. `tokens` is the number of such tokens in the
optimiser step: a step cut into micro-batches, or over processes, adds up to the same gradient however it was cut.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

SAMPLER_IS_OFF: Final = 0.05  # nats per token, root of the mean square: above what bfloat16's rounding alone does


def policy_loss(
    logprobs: Tensor,  # (B, T) nats, under the policy being trained
    old_logprobs: Tensor,  # (B, T) nats, under the policy that sampled; constant
    advantages: Tensor,  # (B, T) scaled over the whole rollout; constant
    mask: Tensor,  # (B, T) bool
    clip: float,  # 0.2 lets the ratio count from 0.8 to 1.2
    tokens: int,  # tokens of the optimiser step
    weights: Tensor | None = None,  # (B, T) of `sampler_weights`; constant; None where each counts 1
) -> Tensor:
    """PPO's clipped objective, negated so that lower is better; a scalar.

    Schulman et al. 2017, arXiv:1707.06347, eq. 7. Raises ValueError when `tokens` is 0, whose mean would be NaN.
    """
    ratio = _kept(logprobs - old_logprobs, mask).exp()
    gain = _kept(advantages if weights is None else advantages * weights, mask)
    return torch.maximum(-gain * ratio, -gain * ratio.clamp(1 - clip, 1 + clip)).sum() / _counted(tokens)


def sampler_weights(
    old_logprobs: Tensor,  # (B, T) nats, under the policy as training measures it; constant
    sampler_logprobs: Tensor | None,  # (B, T) nats, under whoever drew the tokens; None where that is not known
    mask: Tensor,  # (B, T) bool
    cap: float,  # the most that a token may count; 0: all count 1
) -> Tensor | None:
    """(B, T) min(pi_old / mu, cap) of each token, 0 outside the mask; None where all count 1.

    Truncated importance weights: Espeholt et al. 2018, arXiv:1802.01561, section 4; beside PPO's own ratio Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training". Departs from them in that a sampler no further off than
    rounding is left alone (docs/decisions/0062).
    """
    if sampler_logprobs is None or cap == 0:
        return None
    off = _kept(old_logprobs - sampler_logprobs, mask)
    if float(off[mask].square().mean().sqrt()) <= SAMPLER_IS_OFF:
        return None
    return _kept(off.exp().clamp(max=cap), mask)


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
