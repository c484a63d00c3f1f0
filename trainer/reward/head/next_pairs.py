"""Which pairs of answers people should be asked about next, by what a fitted reward does not know: four rules, pure functions.

A rule sees candidates only through their differences of rewards under the posterior: the mean of each, and how all of them vary
together. A candidate is two answers to one prompt, for people cannot compare across prompts. `bench/selection.py` replays the
rules on labels that are there; a rule picks at most as many as there are candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from trainer.reward import likelihoods
from trainer.reward.head.model import Head

OPTIMISM: Final = 1.0  # standard deviations that a gap is taken to be larger


class Candidates(NamedTuple):
    """N pairs that could be asked about, as the reward foretells their verdicts."""

    gap: Tensor  # (N,) float64, posterior mean of the left answer's reward less the right one's
    covariance: Tensor  # (N, N) float64, posterior covariance of these differences
    information: Tensor  # (N,) Fisher information of the difference in one verdict: p (1 - p) where there are no ties


def candidates(head: Head, features: Mapping[str, Tensor], left: Tensor, right: Tensor) -> Candidates:
    """Pairs of answers, (N,) int64 each, rows of the raw features, under a fitted head."""
    parts = [
        group.standardise(features[name][left]) - group.standardise(features[name][right]) for name, group in head.groups.items()
    ]
    difference = torch.cat(parts, 1)
    gap = difference @ torch.cat([group.weights.double() for group in head.groups.values()])
    prior = torch.cat([torch.full_like(group.weights, group.prior).double() for group in head.groups.values()])
    if head.taste:
        difference, prior = torch.cat([difference, head.followed * difference], 1), prior.repeat(2)
    scaled = difference * prior.sqrt()
    if head.precision is not None:
        told = torch.linalg.solve_triangular(head.precision.double(), scaled.T, upper=False)
        covariance = told.T @ told
    else:
        told = difference @ head.shrink.double().T
        covariance = scaled @ scaled.T - told @ told.T
    information = likelihoods.comparison_information(gap, torch.tensor(head.log_nu, dtype=gap.dtype), torch.ones_like(gap))
    return Candidates(gap, covariance, information)


def uniform(pairs: Candidates, count: int, draw: torch.Generator) -> list[int]:
    """Any of them."""
    return torch.randperm(len(pairs.gap), generator=draw)[:count].tolist()


def uncertainty(pairs: Candidates, count: int, draw: torch.Generator) -> list[int]:
    """Those whose verdict is nearest to a coin's: the smallest gap."""
    return pairs.gap.abs().argsort()[:count].tolist()


def d_optimal(pairs: Candidates, count: int, draw: torch.Generator) -> list[int]:
    """One after the other what shrinks the volume of the posterior most, each in view of those before it.

    A verdict of information i on a difference of variance s multiplies the determinant of the precision by 1 + i s, and tells of
    the others by one step of Sherman and Morrison: two pairs that say the same are not both picked while others say more. As the
    last-layer design of arXiv:2502.04354, but within prompts; the gaps stay those of the fit, whatever will be said.
    """
    covariance, picked = pairs.covariance.clone(), list[int]()
    left = torch.ones_like(pairs.gap, dtype=torch.bool)
    for _ in range(min(count, len(pairs.gap))):
        gain = torch.log1p(pairs.information * covariance.diagonal().clamp(min=0))
        best = int(torch.where(left, gain, -1.0).argmax())
        picked.append(best)
        left[best] = False
        covariance = told_by(covariance, best, float(pairs.information[best]))
    return picked


def told_by(covariance: Tensor, asked: int, information: float) -> Tensor:
    """(N, N) posterior covariance once a verdict of this information on one of the N differences is there."""
    row = covariance[asked]
    return covariance - information / (1 + information * row[asked]) * torch.outer(row, row)


def delta_ucb(pairs: Candidates, count: int, draw: torch.Generator) -> list[int]:
    """The largest gap that is still plausible: mean and a standard deviation (DeltaUCB of arXiv:2603.09692)."""
    optimistic = pairs.gap.abs() + OPTIMISM * pairs.covariance.diagonal().clamp(min=0).sqrt()
    return optimistic.argsort(descending=True)[:count].tolist()


Rule = Callable[[Candidates, int, torch.Generator], list[int]]
RULES: Final[Mapping[str, Rule]] = {
    "uniform": uniform,
    "uncertainty": uncertainty,
    "d_optimal": d_optimal,
    "delta_ucb": delta_ucb,
}
