"""How strong the prior of each group of features should be: the variances that make the labels most likely."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.reward.head.label_rows import Rows
from trainer.reward.head.posterior import kernel_root, newton, precision

STEPS = 40
POWER = 0.7
STILL = 0.02
PRIOR_START, PRIOR_FLOOR, PRIOR_CEILING = 4.0, 1e-6, 100.0
LEAST = 1e-6


def find_prior_scales(rows: Rows, designs: Mapping[str, Tensor], start: Mapping[str, float] | None = None) -> dict[str, float]:
    """The prior variance of each group that makes the labels most likely: MacKay 1992, with Laplace's approximation.

    At the optimum `a' K_g a = tr(S K_g)` with u = K a and S = (K + W^-1)^-1 (Rasmussen & Williams 2006, eq. 5.22 without its
    third-derivative term); each step multiplies a_g by a power of the ratio of the two. `start`: variances to begin at.
    """
    kernels = torch.stack([design @ design.T for design in designs.values()])  # (G, n, n)
    even = dict.fromkeys(designs, PRIOR_START / len(designs))
    prior = torch.tensor([(start or even)[name] for name in designs], dtype=kernels.dtype)
    people, u = rows.people(), torch.zeros(kernels.shape[1], 1, dtype=kernels.dtype)
    for _ in range(STEPS):
        factor = kernel_root(torch.einsum("g,gij->ij", prior, kernels))
        guess = torch.linalg.solve_triangular(factor, u, upper=False)
        found = newton(rows, factor, guess, people, steps=2)
        u = factor @ found
        curve = rows.slopes(u[:, 0], people)[1]
        dual = torch.linalg.solve_triangular(factor.T, found, upper=True)[:, 0]
        half = torch.linalg.solve_triangular(precision(factor, curve), factor.T * curve, upper=False)
        spread = torch.diag(curve) - half.T @ half
        wanted = torch.einsum("i,gij,j->g", dual, kernels, dual)
        ratio = wanted / torch.einsum("gij,ij->g", kernels, spread).clamp(min=LEAST)  # a group that never varies has 0 of both
        updated = (prior * ratio.clamp(0.05, 20) ** POWER).clamp(PRIOR_FLOOR, PRIOR_CEILING)
        moved = float((updated - prior).abs().sum() / prior.sum())
        prior = updated
        if moved < STILL:
            break
    return dict(zip(designs, prior.tolist(), strict=True))
