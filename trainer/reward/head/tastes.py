"""How people's tastes differ: one axis in the space of rewards, and each person's place on it.

The reward of person j is (w + s_j d) . x. Both parts have the prior of the reward, s_j is N(0, 1), and all are at their joint
mode with the s_j of unit size over all labels, as only their product with d is seen. Where to begin is read from what the common
reward leaves unexplained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.reward.head.label_rows import Rows
from trainer.reward.head.posterior import NEWTON_STEPS, kernel_root, newton, product

DRAWS = 199  # of who said what
DIRECTIONS = 64  # onto which rows are projected, at random: enough to keep their lengths
BEGIN = 1.0  # root mean square of the first places


def places_of(rows: Rows, known: Mapping[str, float]) -> Tensor:
    """(people,) where an earlier fit found them; somebody it never met begins in the middle."""
    return torch.tensor([known.get(name, 0.0) for name in rows.everybody], dtype=torch.float64)


def first_places(rows: Rows, scaled: Tensor, people: Mapping[str, Tensor], start: Tensor | None = None) -> Tensor:
    """(people,) the places to begin at, from what one reward for all, everybody taken at their word, leaves unexplained."""
    plain = {name: value for name, value in people.items() if name not in ("trust", "clarity")}
    u = _common(rows, scaled, plain, start)
    return leading(rows, scaled, rows.slopes(u, plain)[0])


def _common(rows: Rows, scaled: Tensor, people: dict[str, Tensor], start: Tensor | None) -> Tensor:
    count, columns = scaled.shape
    if columns <= count:
        begin = rows.nothing(columns, people) if start is None else start[:, :1]
        return product(scaled, newton(rows, scaled, begin, people, NEWTON_STEPS))[:, 0]
    basis = kernel_root((scaled @ scaled.T).double())
    return (basis @ newton(rows, basis, rows.nothing(count, people), people, NEWTON_STEPS))[:, 0]


def leading(
    rows: Rows,
    scaled: Tensor,  # (rows, D) under a unit prior
    slope: Tensor,  # (rows,) of the log-likelihood in u
) -> Tensor:
    """(people,) the leading eigenvector of how alike the people's slopes in w are, each row's likeness to itself left out."""
    slopes = _by_person(rows, scaled, slope)
    alike = slopes @ slopes.T - torch.diag(_own(rows, scaled, slope))
    vector: Tensor = torch.linalg.eigh(alike)[1][:, -1]
    return BEGIN * vector / vector.square().mean().sqrt().clamp(min=1e-12)


def differ(
    rows: Rows,
    scaled: Tensor,  # (rows, D) under a unit prior
    slope: Tensor,  # (rows,) of the log-likelihood in u, where a reward that did not learn from the row stands
    seed: int = 0,
) -> float:
    """How often people who are all alike would seem to differ so much: the p value of the score test that each person has weights
    of their own (Lin 1997, Biometrika 84(2)), by exchanging who said what.
    """
    draw = torch.Generator().manual_seed(seed)
    projection = torch.randn(scaled.shape[1], DIRECTIONS, generator=draw).to(scaled.dtype)
    told = (scaled @ projection).double() * slope[:, None]
    person = rows.person

    def unlike(person: Tensor) -> float:
        return float(torch.zeros(len(rows.everybody), DIRECTIONS).double().index_add_(0, person, told).square().sum())

    found = unlike(person)
    drawn = [unlike(person[torch.randperm(len(person), generator=draw)]) for _ in range(DRAWS)]
    return (1 + sum(one >= found for one in drawn)) / (1 + DRAWS)


def sides(places: Mapping[str, float], counts: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The two groups of people, the larger first, that places fall into: where the variance within them, each person weighing as
    many labels as they gave, is least.
    """
    names = sorted(places, key=lambda name: (places[name], name))
    place = torch.tensor([places[name] for name in names], dtype=torch.float64)
    weight = torch.tensor([float(counts.get(name, 0)) for name in names], dtype=torch.float64)
    gave, total = weight.cumsum(0), (weight * place).cumsum(0)
    left, right = gave[:-1], gave[-1] - gave[:-1]
    apart = total[:-1] / left.clamp(min=1e-12) - (total[-1] - total[:-1]) / right.clamp(min=1e-12)
    cut = 1 + int((left * right * apart.square()).argmax())
    low, high = names[:cut], names[cut:]
    return (low, high) if len(low) >= len(high) else (high, low)


def _by_person(rows: Rows, scaled: Tensor, slope: Tensor) -> Tensor:
    """(people, D) float64 slopes in w of what each said."""
    slopes = torch.zeros(len(rows.everybody), scaled.shape[1], dtype=scaled.dtype)
    return slopes.index_add_(0, rows.person, scaled * slope[:, None].to(scaled.dtype)).double()


def _own(rows: Rows, scaled: Tensor, slope: Tensor) -> Tensor:
    """(people,) what each person's rows would have in common with themselves."""
    own = scaled.double().square().sum(1) * slope.square()
    return torch.zeros(len(rows.everybody), dtype=torch.float64).index_add_(0, rows.person, own)
