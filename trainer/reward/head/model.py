"""A reward as a Bayesian head on pooled features, r(x) = w . x, as it is once it is fitted: groups, people, posterior.

Features come in groups (one per layer, one for the log length). Within a group the weights are N(0, a_g). `fitting.py` finds all
of it from labels. Knows no file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

ROWS_AT_ONCE = 8192  # whose features are widened together


@dataclass
class Group:
    """One group of standardised features and what was learned of it."""

    centre: Tensor  # (D,)
    spread: Tensor  # (D,) or (1,)
    prior: float  # variance of each weight, and so the group's part in the prior variance of an average row
    weights: Tensor  # (D,)
    axis: Tensor | None = None  # (D,) along which people's tastes differ, in the units of the weights

    def standardise(self, values: Tensor) -> Tensor:
        """(N, D) raw -> (N, D) float64."""
        return (values.double() - self.centre) / self.spread


@dataclass
class Head:
    """A fitted reward: groups that matter, the people's parameters, and the posterior of the weights.

    Where tastes differ, the reward of a person whose place on the axis is s is w + (s - followed) axis: the weights are those of
    the place that is followed. The posterior is then of what stands at place 0, and of the axis.

    The posterior covariance is `A - C' C` with A the diagonal of prior variances and C = `shrink`, (k, all D), whose columns go
    by the groups in their order; or, where there were more labels than columns, that of A^1/2 v with `precision` (all D, all D)
    the Cholesky factor of the precision of v.
    """

    groups: dict[str, Group]
    shrink: Tensor
    log_nu: float
    threshold: float | None  # None: no pair was called bad
    cutpoints: list[float]
    scale: float
    leniency: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    reliability: dict[str, float] = field(default_factory=dict)  # Crowd-BT's eta; empty where everyone is taken at their word
    taste: dict[str, float] = field(default_factory=dict)  # each person's place on the axis; empty where tastes are one
    followed: float = 0.0  # the place whose reward this is
    precision: Tensor | None = None

    def reward(self, features: Mapping[str, Tensor]) -> Tensor:
        """(N,) float64 latent rewards from raw features, group -> (N, D)."""
        parts = [
            torch.cat([group.standardise(some) @ group.weights.double() for some in torch.split(features[name], ROWS_AT_ONCE)])
            for name, group in self.groups.items()
        ]
        return torch.stack(parts).sum(0)

    def axis(self, features: Mapping[str, Tensor]) -> Tensor:
        """(N,) float64: what a step along the axis of tastes adds to a reward; 0 where tastes are one."""
        parts = [
            group.standardise(features[name]) @ group.axis.double()
            for name, group in self.groups.items()
            if group.axis is not None
        ]
        return torch.stack(parts).sum(0) if parts else torch.zeros(len(next(iter(features.values()))), dtype=torch.float64)

    def following(self, names: Collection[str]) -> Head:
        """The same fit as the reward of these people's mean taste; of those it never met it takes nothing."""
        met = [self.taste[name] for name in names if name in self.taste]
        if not met:
            return self
        place = sum(met) / len(met)
        groups = {
            name: replace(group, weights=group.weights + (place - self.followed) * group.axis)
            for name, group in self.groups.items()
            if group.axis is not None
        }
        return replace(self, groups=groups, followed=place)

    def deviation(self, features: Mapping[str, Tensor]) -> Tensor:
        """(N,) posterior standard deviation of the reward's difference to that of the average labelled answer."""
        columns = torch.cat([group.standardise(features[name]) for name, group in self.groups.items()], 1)
        prior = torch.cat([torch.full_like(group.weights, group.prior).double() for group in self.groups.values()])
        if self.taste:
            columns, prior = torch.cat([columns, self.followed * columns], 1), prior.repeat(2)
        if self.precision is not None:
            spread: Tensor = torch.linalg.solve_triangular(self.precision.double(), (columns * prior.sqrt()).T, upper=False)
            return spread.square().sum(0).sqrt()
        variance = columns.square() @ prior - (columns @ self.shrink.double().T).square().sum(1)
        return variance.clamp(min=0).sqrt()

    def shares(self) -> dict[str, float]:
        """How much of the prior variance of a judgement each group carries; they add up to 1."""
        total = sum(group.prior for group in self.groups.values())
        return {name: group.prior / total for name, group in self.groups.items()}
