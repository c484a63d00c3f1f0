"""A small Bayesian reward on pooled features: r(x) = w . x, with a normal prior whose strength every layer learns.

Features come in groups (one per layer, one for the log length). Within a group the weights are N(0, a_g); the a_g are found by
the evidence, MacKay's fixed point on a Laplace approximation, so that layers, prior strength and covariates are chosen by the
labels without a held-out set. Every kind of verdict enters through `likelihoods.py` as a row u_i = z_i . w. Knows no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from trainer import likelihoods
from trainer.data import Comparison, Rating

EVIDENCE_LABELS = 500  # of either kind; more do not change the prior much, and cost their cube
EVIDENCE_STEPS = 40
EVIDENCE_POWER = 0.7
EVIDENCE_TOLERANCE = 0.02
PRIOR_START, PRIOR_FLOOR, PRIOR_CEILING = 4.0, 1e-6, 100.0
JITTER = 1e-6
KEEP_SHARE = 0.02  # a group that explains less than this share of the strongest is dropped
NEWTON_STEPS = 12
TOLERANCE = 1e-4


@dataclass(frozen=True)
class HeadSettings:
    both_bad_weight: float = 0.5
    rating_weight: float = 1.0


@dataclass
class Group:
    """One group of standardised features and what was learned of it."""

    centre: Tensor  # (D,)
    spread: Tensor  # (D,) or (1,)
    prior: float  # variance of each weight, and so the group's part in the prior variance of an average row
    weights: Tensor  # (D,)

    def standardise(self, values: Tensor) -> Tensor:
        """(N, D) raw -> (N, D) float64."""
        return (values.double() - self.centre) / self.spread


@dataclass
class Head:
    """A fitted reward: groups that matter, the people's parameters, and the posterior of the weights.

    The posterior covariance is `A - C' C` with A the diagonal of prior variances and C = `shrink`, (k, all D), whose columns go
    by the groups in their order.
    """

    groups: dict[str, Group]
    shrink: Tensor
    log_nu: float
    threshold: float | None  # None: no pair was called bad
    cutpoints: list[float]
    scale: float
    leniency: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)

    def reward(self, features: Mapping[str, Tensor]) -> Tensor:
        """(N,) float64 latent rewards from raw features, group -> (N, D)."""
        parts = [group.standardise(features[name]) @ group.weights.double() for name, group in self.groups.items()]
        return torch.stack(parts).sum(0)

    def deviation(self, features: Mapping[str, Tensor]) -> Tensor:
        """(N,) posterior standard deviation of the reward's difference to that of the average labelled answer."""
        columns = torch.cat([group.standardise(features[name]) for name, group in self.groups.items()], 1)
        prior = torch.cat([torch.full_like(group.weights, group.prior).double() for group in self.groups.values()])
        variance = columns.square() @ prior - (columns @ self.shrink.double().T).square().sum(1)
        return variance.clamp(min=0).sqrt()

    def shares(self) -> dict[str, float]:
        """How much of the prior variance of a judgement each group carries; they add up to 1."""
        total = sum(group.prior for group in self.groups.values())
        return {name: group.prior / total for name, group in self.groups.items()}


def fit(
    features: Mapping[str, Tensor],  # group -> (N, D) of every answer the labels speak of
    comparisons: Sequence[Comparison],
    ratings: Sequence[Rating],
    settings: HeadSettings,
) -> Head:
    """Fit the reward to labels; deterministic. Raises ValueError without labels."""
    if not comparisons and not ratings:
        raise ValueError("a reward needs at least one label")
    rows = Rows(comparisons, ratings, settings)
    groups = {name: _standard(values, rows) for name, values in features.items()}
    people = rows.people()
    sample = Rows(_spread(comparisons, EVIDENCE_LABELS), _spread(ratings, EVIDENCE_LABELS), settings)
    designs = {name: sample.design(groups[name].standardise(values)) for name, values in features.items()}
    for name, prior in _evidence(sample, designs).items():
        groups[name].prior = prior
    strongest = max(group.prior for group in groups.values())
    kept = {name: group for name, group in groups.items() if group.prior > KEEP_SHARE * strongest}
    designs = {name: rows.design(group.standardise(features[name])) for name, group in kept.items()}
    scaled = torch.cat([designs[name] * group.prior**0.5 for name, group in kept.items()], 1)  # unit prior on every column
    mean, shrink = _posterior(rows, scaled, people)
    roots = torch.cat([torch.full_like(group.weights, group.prior**0.5) for group in kept.values()])
    for group, part in zip(
        kept.values(), torch.split(mean * roots, [len(group.weights) for group in kept.values()]), strict=True
    ):
        group.weights = part.float()
    return rows.head(kept, (shrink * roots).float(), people)


class Rows:
    """Labels as rows of one vector u: differences, then pair means if any pair was called bad, then rated answers."""

    def __init__(
        self, comparisons: Sequence[Comparison], ratings: Sequence[Rating], settings: HeadSettings, levels: bool | None = None
    ) -> None:
        self.left = torch.tensor([label.left for label in comparisons], dtype=torch.long)
        self.right = torch.tensor([label.right for label in comparisons], dtype=torch.long)
        self.verdict = torch.tensor([likelihoods.VERDICTS[label.choice] for label in comparisons], dtype=torch.long)
        self.strength = torch.tensor([likelihoods.strength_weight(label.strength) for label in comparisons], dtype=torch.float64)
        self.bad = torch.tensor([label.choice == "both_bad" for label in comparisons], dtype=torch.bool)
        self.rated = torch.tensor([label.answer for label in ratings], dtype=torch.long)
        self.score = torch.tensor([label.overall for label in ratings], dtype=torch.long)
        self.names = sorted({label.annotator for label in ratings})
        self.judge = torch.tensor([self.names.index(label.annotator) for label in ratings], dtype=torch.long)
        self.levels = bool(self.bad.any()) if levels is None else levels
        self.settings = settings

    @property
    def answers(self) -> Tensor:
        """Indices of the answers the rows speak of, each once."""
        return torch.tensor(sorted({*self.left.tolist(), *self.right.tolist(), *self.rated.tolist()}), dtype=torch.long)

    def design(self, values: Tensor) -> Tensor:
        """(N, D) features -> (rows, D) so that u = design @ w."""
        parts = [values[self.left] - values[self.right]]
        if self.levels:
            parts.append((values[self.left] + values[self.right]) / 2)
        return torch.cat([*parts, values[self.rated]])

    def people(self) -> dict[str, Tensor]:
        """Starting values of what is learned about people: how they tie, what is bad, how they rate."""
        ties = float((self.verdict == likelihoods.TIE).sum()) if len(self.verdict) else 0.0
        start = {"log_nu": torch.tensor([(ties + 0.5) / (len(self.verdict) - ties + 1.0)]).log()}
        if self.levels:
            start["threshold"] = torch.logit(self.bad.double().mean().clamp(0.01, 0.99))[None]
        if len(self.rated):
            start |= {"cuts": torch.tensor([-2.0, 0.0, 0.0, 0.0])}
            if len(self.verdict):  # with ratings alone the prior of the weights is the scale already
                start["log_scale"] = torch.zeros(1)
            start |= {"leniency": torch.zeros(len(self.names)), "log_noise": torch.zeros(len(self.names))}
        return {name: value.double() for name, value in start.items()}

    def known(self, head: Head) -> dict[str, Tensor]:
        """The people's parameters that a fitted head found; somebody it never met is taken as average."""
        values: dict[str, list[float]] = {"log_nu": [head.log_nu]}
        if self.levels:
            values["threshold"] = [head.threshold or 0.0]
        if len(self.rated):
            steps = [high - low for low, high in pairwise(head.cutpoints)]
            values |= {"cuts": [head.cutpoints[0], *map(math.log, steps)], "log_scale": [math.log(head.scale)]}
            values["leniency"] = [head.leniency.get(name, 0.0) for name in self.names]
            values["noise"] = [head.noise.get(name, 1.0) for name in self.names]
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def loglik(self, u: Tensor, people: Mapping[str, Tensor]) -> Tensor:
        """(rows,) weighted log-likelihood of every row."""
        pairs = len(self.left)
        parts = [self.strength * likelihoods.comparison(u[:pairs], self.verdict, people["log_nu"][0])]
        rest = u[pairs:]
        if self.levels:
            level = likelihoods.level(rest[:pairs], self.bad, people["threshold"][0])
            parts.append(self.settings.both_bad_weight * level)
            rest = rest[pairs:]
        if len(self.rated):
            noise = _relative_noise(people)[self.judge]
            cuts = likelihoods.ordered(people["cuts"])
            scale = people["log_scale"].exp()[0] if "log_scale" in people else u.new_ones(())
            rated = likelihoods.rating(rest, self.score, cuts, scale, people["leniency"][self.judge], noise)
            parts.append(self.settings.rating_weight * rated)
        return torch.cat(parts)

    def log_prior(self, people: Mapping[str, Tensor]) -> Tensor:
        deviations = {"log_nu": 2.0, "threshold": 3.0, "cuts": 3.0, "log_scale": 0.5, "leniency": 1.0, "log_noise": 0.5}
        return torch.stack([likelihoods.normal_prior(value, deviations[name]) for name, value in people.items()]).sum()

    def head(self, groups: dict[str, Group], shrink: Tensor, people: Mapping[str, Tensor]) -> Head:
        rated = len(self.rated) > 0
        return Head(
            groups,
            shrink,
            log_nu=float(people["log_nu"]),
            threshold=float(people["threshold"]) if self.levels else None,
            cutpoints=likelihoods.ordered(people["cuts"]).tolist() if rated else [],
            scale=float(people["log_scale"].exp()) if "log_scale" in people else 1.0,
            leniency=dict(zip(self.names, people["leniency"].tolist(), strict=True)) if rated else {},
            noise=dict(zip(self.names, _relative_noise(people).tolist(), strict=True)) if rated else {},
        )


def _relative_noise(people: Mapping[str, Tensor]) -> Tensor:
    """(J,) each judge's noise beside the others', whose scale is the reward's own; or as it is already known."""
    if "noise" in people:
        return people["noise"]
    return (people["log_noise"] - people["log_noise"].mean()).exp()


def _standard(values: Tensor, rows: Rows) -> Group:
    """Centre each feature; spread so that the labels' rows have length 1 on average."""
    used = values[rows.answers].double()
    centre = used.mean(0)
    spread = used.std(0, unbiased=False) + 1e-6 if len(used) > 1 else torch.ones_like(centre)
    length = rows.design((values.double() - centre) / spread).square().sum(1).mean().sqrt().clamp(min=1e-6)
    return Group(centre.float(), (spread * length).float(), 1.0, torch.zeros_like(centre))


def _spread(labels: Sequence[Any], limit: int) -> Sequence[Any]:
    """At most `limit` labels, evenly over all."""
    return labels if len(labels) <= limit else [labels[index * len(labels) // limit] for index in range(limit)]


def _evidence(rows: Rows, designs: Mapping[str, Tensor]) -> dict[str, float]:
    """The prior variance of each group that makes the labels most likely: MacKay 1992, with Laplace's approximation.

    At the optimum `a' K_g a = tr(S K_g)` with u = K a and S = (K + W^-1)^-1 (Rasmussen & Williams 2006, eq. 5.22 without its
    third-derivative term); each step multiplies a_g by a power of the ratio of the two.
    """
    kernels = torch.stack([design @ design.T for design in designs.values()])  # (G, n, n)
    prior = torch.full((len(designs),), PRIOR_START / len(designs), dtype=kernels.dtype)
    people, u = rows.people(), torch.zeros(kernels.shape[1], dtype=kernels.dtype)
    for _ in range(EVIDENCE_STEPS):
        root = _root(torch.einsum("g,gij->ij", prior, kernels))
        start = torch.linalg.solve_triangular(root, u[:, None], upper=False)[:, 0]
        found = _newton(rows, root, start, people, steps=2)
        u = root @ found
        curve = _curvature(rows, u, people)[1]
        factor = _precision(root, curve)
        dual = torch.linalg.solve_triangular(root.T, found[:, None], upper=True)[:, 0]
        half = torch.linalg.solve_triangular(factor, root.T * curve, upper=False)
        spread = torch.diag(curve) - half.T @ half
        wanted = torch.einsum("i,gij,j->g", dual, kernels, dual)
        ratio = wanted / torch.einsum("gij,ij->g", kernels, spread).clamp(min=JITTER)  # a group that never varies has 0 of both
        updated = (prior * ratio.clamp(0.05, 20) ** EVIDENCE_POWER).clamp(PRIOR_FLOOR, PRIOR_CEILING)
        moved = float((updated - prior).abs().sum() / prior.sum())
        prior = updated
        if moved < EVIDENCE_TOLERANCE:
            break
    return dict(zip(designs, prior.tolist(), strict=True))


def _posterior(rows: Rows, scaled: Tensor, people: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (D,) and C (k, D) of weights with prior N(0, 1), whose posterior covariance is `1 - C' C`; k is the smaller side.

    With fewer rows than columns the work is done in the rows' space (the kernel trick).
    """
    if scaled.shape[1] <= scaled.shape[0]:
        basis, back = scaled, None
        mean = found = _newton(rows, basis, scaled.new_zeros(scaled.shape[1]), people, NEWTON_STEPS)
    else:
        basis = _root(scaled @ scaled.T)
        back = torch.linalg.solve_triangular(basis, scaled, upper=False)  # (n, D), orthonormal rows
        found = _newton(rows, basis, scaled.new_zeros(len(scaled)), people, NEWTON_STEPS)
        mean = back.T @ found
    factor = _precision(basis, _curvature(rows, basis @ found, people)[1])
    values, vectors = torch.linalg.eigh(factor @ factor.T)
    shrink = (1 - 1 / values.clamp(min=1)).sqrt()[:, None] * vectors.T
    return mean, shrink if back is None else shrink @ back


def _root(kernel: Tensor) -> Tensor:
    """Cholesky factor of a kernel matrix, which repeated labels make singular."""
    root: Tensor = torch.linalg.cholesky(kernel + JITTER * torch.eye(len(kernel), dtype=kernel.dtype))
    return root


def _curvature(rows: Rows, u: Tensor, people: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Slope and negative curvature of each row's log-likelihood in its own u, both (rows,)."""
    u = u.detach().requires_grad_()
    (slope,) = torch.autograd.grad(rows.loglik(u, people).sum(), u, create_graph=True)
    (curve,) = torch.autograd.grad(slope.sum(), u)
    return slope.detach(), (-curve).clamp(min=1e-9)


def _update_people(rows: Rows, u: Tensor, people: dict[str, Tensor]) -> None:
    """One damped Newton step on the people's parameters, in place, the rewards held."""
    names, sizes = list(people), [len(value) for value in people.values()]

    def objective(flat: Tensor) -> Tensor:
        parts = dict(zip(names, torch.split(flat, sizes), strict=True))
        return rows.loglik(u, parts).sum() + rows.log_prior(parts)

    flat = torch.cat(list(people.values()))
    at = flat.detach().requires_grad_()
    (slope,) = torch.autograd.grad(objective(at), at)
    hessian = torch.autograd.functional.hessian(objective, flat)  # type: ignore[no-untyped-call]
    values, vectors = torch.linalg.eigh(-hessian)
    step = vectors @ ((vectors.T @ slope) / values.abs().clamp(min=1e-3))
    people.update(zip(names, torch.split(flat + step * _step_size(objective, flat, step), sizes), strict=True))


def _step_size(objective: Callable[[Tensor], Tensor], start: Tensor, step: Tensor) -> float:
    """The largest of 1, 1/2, 1/4 ... that makes the objective no smaller; 0 if none of ten does."""
    before = float(objective(start))
    return next((size for size in (0.5**power for power in range(10)) if float(objective(start + size * step)) >= before), 0.0)


def _newton(rows: Rows, basis: Tensor, coefficients: Tensor, people: dict[str, Tensor], steps: int) -> Tensor:
    """Newton steps on v ~ N(0, 1) with u = basis @ v, and on the people's parameters in turn."""
    for _ in range(steps):
        slope, curve = _curvature(rows, basis @ coefficients, people)
        step = torch.cholesky_solve((basis.T @ slope - coefficients)[:, None], _precision(basis, curve))[:, 0]
        step = step * _step_size(lambda v: rows.loglik(basis @ v, people).sum() - v.square().sum() / 2, coefficients, step)
        coefficients = coefficients + step
        _update_people(rows, basis @ coefficients, people)
        if float(step.abs().max()) < TOLERANCE:
            break
    return coefficients


def _precision(basis: Tensor, curve: Tensor) -> Tensor:
    """Cholesky factor of the posterior precision of v, `1 + B' W B`."""
    factor: Tensor = torch.linalg.cholesky((basis.T * curve) @ basis + torch.eye(basis.shape[1], dtype=basis.dtype))
    return factor
