"""Newton's method and Laplace's approximation for weights with prior N(0, 1), in whichever space is smaller.

The products over all rows are float32 where they are large (`basis` decides); what is factorised is float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.reward.head.label_rows import Rows

JITTERS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # beside a prior variance of the rewards of order 1
NEWTON_STEPS = 48
REFRESH = 8  # steps that share one factorised curvature: a step costs a hundredth of a factorisation
TOLERANCE = 1e-4
CURVED_ROWS = 20_000  # rows whose curvature steers the steps: where they lead, the slope of all decides
ROWS_AT_ONCE = 16_384
LARGE = 2e9  # multiplications of a Gram matrix from which float32 pays


def posterior(
    rows: Rows, scaled: Tensor, people: dict[str, Tensor], start: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mean (D, k) of the weights, and their covariance in the smaller of two forms; `people` is fitted along, in place.

    With as many rows as columns or more: no C, (0, k D), and the Cholesky factor L (k D, k D) of the precision. With fewer, the
    work is done in the rows' space (the kernel trick, Woodbury's identity): C (rows, k D) with covariance `1 - C' C`, and no L.
    k is 2 where people's tastes differ: weights, then the axis of tastes. `start` (D, k): a guess of the mean.
    """
    count, columns = scaled.shape
    if columns <= count:
        mean = newton(rows, scaled, rows.nothing(columns, people) if start is None else start, people, NEWTON_STEPS)
        curve = rows.slopes(rows.told(product(scaled, mean), people), people)[1]
        return mean, mean.new_zeros(0, mean.numel()), precision(rows.widened(scaled, people), curve)
    kernel = (scaled @ scaled.T).double()
    basis = kernel_root(kernel)
    found = newton(rows, basis, rows.nothing(count, people), people, NEWTON_STEPS)
    mean = product(scaled.T, torch.linalg.solve_triangular(basis.T, found, upper=True))
    curve = rows.slopes(rows.told(basis @ found, people), people)[1]
    spread = torch.linalg.cholesky(rows.alike(kernel, people) + torch.diag(1 / curve))
    wide = rows.widened(scaled, people)
    return mean, torch.linalg.solve_triangular(spread.to(wide.dtype), wide, upper=False).double(), None


def newton(rows: Rows, basis: Tensor, coefficients: Tensor, people: dict[str, Tensor], steps: int) -> Tensor:
    """Newton steps on v ~ N(0, 1), (D, k), with parts = basis @ v, and on the people's parameters in turn; returns v, float64."""
    for step in range(steps):
        slope, curve = rows.slopes(rows.told(product(basis, coefficients), people), people)
        if step % REFRESH == 0:
            factor = precision(rows.widened(basis, people), curve, CURVED_ROWS)
        pull = product(basis.T, rows.parted(slope, people)) - coefficients
        move = torch.cholesky_solve(pull.T.reshape(-1, 1), factor).reshape(pull.T.shape).T

        def objective(v: Tensor) -> Tensor:
            return rows.loglik(rows.told(product(basis, v), people), people).sum() - v.square().sum() / 2

        coefficients = coefficients + move * step_size(objective, coefficients, move)
        update_people(rows, product(basis, coefficients), people)
        if float(move.abs().max()) < TOLERANCE:
            break
    return coefficients


def update_people(rows: Rows, parts: Tensor, people: dict[str, Tensor]) -> None:
    """One damped Newton step on the people's parameters, in place, the rewards held."""
    names, sizes = list(people), [len(value) for value in people.values()]

    def objective(flat: Tensor) -> Tensor:
        own = dict(zip(names, torch.split(flat, sizes), strict=True))
        return rows.loglik(rows.told(parts, own), own).sum() + rows.log_prior(own)

    flat = torch.cat(list(people.values()))
    at = flat.detach().requires_grad_()
    (slope,) = torch.autograd.grad(objective(at), at)
    hessian = torch.autograd.functional.hessian(objective, flat, vectorize=True)  # type: ignore[no-untyped-call]
    values, vectors = torch.linalg.eigh(-hessian)
    inverse = vectors / values.abs().clamp(min=1e-3) @ vectors.T
    move = inverse @ slope
    if "taste" in people:  # along what keeps the places' size
        out = torch.cat([value * _rows_of(rows) if name == "taste" else 0 * value for name, value in people.items()])
        move = move - inverse @ out * (out @ move) / (out @ inverse @ out).clamp(min=1e-12)
    people.update(zip(names, torch.split(flat + move * step_size(objective, flat, move), sizes), strict=True))
    if "taste" in people:
        people["taste"] = unit_places(rows, people["taste"])


def unit_places(rows: Rows, places: Tensor) -> Tensor:
    """(people,) so that the mean square over all rows is 1.

    Only the product of place and axis is seen, and an axis has many more columns than there are people: at the mode the places
    would grow for its sake, and its prior would bound it no more.
    """
    size: Tensor = places[rows.person].square().mean().sqrt()
    return places / size.clamp(min=1e-12)


def _rows_of(rows: Rows) -> Tensor:
    """(people,) how many are theirs."""
    return torch.bincount(rows.person, minlength=len(rows.everybody))


def step_size(objective: Callable[[Tensor], Tensor], start: Tensor, step: Tensor) -> float:
    """The largest of 1, 1/2, 1/4 ... that makes the objective no smaller; 0 if none of ten does."""
    before = float(objective(start))
    return next((size for size in (0.5**power for power in range(10)) if float(objective(start + size * step)) >= before), 0.0)


def precision(basis: Tensor, curve: Tensor, most: int | None = None) -> Tensor:
    """Cholesky factor of the posterior precision of v, `1 + B' W B`; of `most` rows at most, evenly over all, weighing as all."""
    apart = 1 if most is None else -(-len(basis) // most)
    basis, roots = basis[::apart], (curve[::apart] * (len(curve) / len(curve[::apart]))).sqrt()[:, None].to(basis.dtype)
    gram = torch.zeros(basis.shape[1], basis.shape[1], dtype=torch.float64)
    for some, root in zip(torch.split(basis, ROWS_AT_ONCE), torch.split(roots, ROWS_AT_ONCE), strict=True):
        weighted = some * root
        gram += (weighted.T @ weighted).double()
    factor: Tensor = torch.linalg.cholesky(gram + torch.eye(len(gram), dtype=torch.float64))
    return factor


def kernel_root(kernel: Tensor) -> Tensor:
    """Cholesky factor of a kernel matrix, with the least jitter that makes it one.

    More labels than their answers differ in, and labels said twice, make it singular; float32 products then leave eigenvalues
    under 0, the further the larger the features. Raises ValueError where that is not all that is wrong.
    """
    unit = torch.eye(len(kernel), dtype=kernel.dtype)
    factor: Tensor
    for jitter in JITTERS:
        factor, failed = torch.linalg.cholesky_ex(kernel + jitter * unit)
        if not failed:
            return factor
    raise ValueError("the products of the answers' features are not finite, or far from exact")


def product(matrix: Tensor, vector: Tensor) -> Tensor:
    """Product with a vector, or a few of them, in the matrix's type, as float64."""
    return (matrix @ vector.to(matrix.dtype)).double()
