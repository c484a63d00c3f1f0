"""The losses of DPO and KTO: pure functions of the log-ratios of whole answers, as sums over the examples of an optimiser step.

A log-ratio is log pi(y|x) - log q(y|x), the policy's log-probability of an answer less the reference's, in nats. Sums divided by
the step's examples add up to the same gradient however a step was cut into micro-batches. Symbols and papers: docs/math.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dpo_loss(
    chosen: Tensor,  # (N,) log-ratios of the answers that people preferred
    rejected: Tensor,  # (N,) of those they preferred them to
    beta: float,  # score per nat
    examples: int,  # comparisons of the optimiser step
) -> Tensor:
    """-log sigmoid(beta (chosen - rejected)), a mean over the step; a scalar. Rafailov et al. 2023, arXiv:2305.18290, eq. 7."""
    return -F.logsigmoid(beta * (chosen - rejected)).sum() / examples


def per_token(log_ratios: Tensor, lengths: Tensor, mean_length: float) -> Tensor:
    """Log-ratios (N,) counted by the token: each over its answer's length (N,), times the mean length of all answers.

    The division is SimPO's (Meng et al. 2024, arXiv:2405.14734, eq. 4), here with the reference, as in Tülu 3
    (arXiv:2411.15124, eq. 6). Departure: the factor, by which beta keeps its meaning.
    """
    return log_ratios * mean_length / lengths


def kto_loss(
    log_ratios: Tensor,  # (N,) of answers that were judged alone
    desirable: Tensor,  # (N,) bool
    kl: Tensor,  # scalar, constant: `kto_reference` of the step
    beta: float,  # score per nat
    weights: tuple[float, float],  # of desirable answers, and of others
    examples: int,  # answers of the optimiser step
) -> Tensor:
    """weight (1 - sigmoid(+-beta (log-ratio - kl))), a mean over the step; a scalar.

    Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8.
    """
    gain = beta * (log_ratios - kl)
    good, bad = weights
    return torch.where(desirable, good * torch.sigmoid(-gain), bad * torch.sigmoid(gain)).sum() / examples


def kto_reference(strangers: Tensor) -> Tensor:
    """z_0, the point from which gains and losses are felt: KL(pi || q) as answers to *other* prompts tell it, at least 0.

    strangers: (N,) log-ratios of each example's prompt with another one's answer. A scalar without gradient. Section 4.1.
    """
    return strangers.detach().mean().clamp(min=0.0)


def kto_weights(desirable: int, others: int) -> tuple[float, float]:
    """Weights under which the two kinds of answers count the same in all, 1 on average; (1, 1) where there is one kind only.

    The paper asks for a ratio of the sums between 1 and 4/3.
    """
    if not desirable or not others:
        return 1.0, 1.0
    half = (desirable + others) / 2
    return half / desirable, half / others
