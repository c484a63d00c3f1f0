"""How far people agree: Krippendorff's alpha with an interval, and how often each two of them say the same.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": alpha = 1 - D_o / D_e, the disagreement that is there over
the one that chance would bring. 1 is perfect, 0 is chance. Verdicts may be missing, and a unit with one says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from app.quality.measures.by_person import Floats, Ints
from app.quality.measures.figure import Figure

Level = Literal["nominal", "ordinal"]

DRAWS: Final = 1000  # of units, for the interval


def alpha(
    units: Ints,  # (labels,) what was judged: 0, 1, ...
    values: Ints,  # (labels,) 0, 1, ... in their order
    level: Level,
) -> Figure:
    """Krippendorff's alpha of all units that have two verdicts; `n` counts the verdicts. None where all say one thing.

    The interval is a bootstrap over units. Units in which each value came equally often are alike, so that a draw is one of
    how often each kind of unit came.
    """
    kinds, came = _kinds(units, values)
    if not len(kinds):
        return Figure(0)
    within = _coincidences(kinds).reshape(len(kinds), -1)  # (kinds, values * values)
    drawn = np.random.default_rng(0).multinomial(came.sum(), came / came.sum(), size=DRAWS)
    size = kinds.shape[1]
    value, *others = _alpha((np.vstack([came, drawn]) @ within).reshape(-1, size, size), level)
    n = int((kinds.sum(axis=1) * came).sum())
    if np.isnan(value):
        return Figure(n)
    low, high = np.nanquantile(others, (0.025, 0.975))
    return Figure(n, float(value), float(low), float(high))


def _kinds(units: Ints, values: Ints) -> tuple[Ints, Ints]:
    """How often each value came, of each kind of unit with at least two verdicts (kinds, values), and how many units are such."""
    if not len(units):
        return np.zeros((0, 1), np.int64), np.zeros(0, np.int64)
    size = int(values.max()) + 1
    counts = np.bincount(units * size + values, minlength=(int(units.max()) + 1) * size).reshape(-1, size)
    counts = counts[counts.sum(axis=1) > 1]
    most = int(counts.max(initial=0)) + 1
    if most**size >= 2**62:
        kinds, came = np.unique(counts, axis=0, return_counts=True)
        return kinds, came
    _, first, came = np.unique(counts @ most ** np.arange(size), return_index=True, return_counts=True)  # a number for each row
    return counts[first], came


def _coincidences(kinds: Ints) -> Floats:
    """Pairs of values within a unit of each kind, each verdict counted once in all. (kinds, values, values)"""
    pairs = kinds[:, :, None] * kinds[:, None, :] - kinds[:, :, None] * np.eye(kinds.shape[1], dtype=np.int64)
    found: Floats = pairs / (kinds.sum(axis=1) - 1)[:, None, None]
    return found


def _alpha(coincidences: Floats, level: Level) -> Floats:
    """Of each matrix (draws, values, values); not a number where there is nothing to differ in."""
    came = coincidences.sum(axis=2)  # (draws, values)
    n = came.sum(axis=1)
    differ = _differences(came, level)
    expected = np.einsum("dv,dw,dvw->d", came, came, differ)
    observed = np.einsum("dvw,dvw->d", coincidences, differ)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(expected > 0, 1.0 - (n - 1.0) * observed / expected, np.nan)
    return found


def _differences(came: Floats, level: Level) -> Floats:
    """The square of how much two values differ. Ordinal: by how many verdicts lie between them. (draws, values, values)"""
    size = came.shape[1]
    if level == "nominal":
        return np.broadcast_to(1.0 - np.eye(size), (len(came), size, size))
    middle = np.cumsum(came, axis=1) - came / 2.0  # the rank of each value
    found: Floats = (middle[:, :, None] - middle[:, None, :]) ** 2
    return found


@dataclass(frozen=True, slots=True)
class Pairs:
    """Of each two people, what both judged, and of that what both said alike. (people, people), symmetric."""

    both: Ints
    alike: Ints


def pairs(units: Ints, people: Ints, values: Ints, count: int, *, near: int = 0) -> Pairs:
    """`near`: values so far apart are alike. `count` is how many people there are. One person's verdicts are not paired."""
    order = np.argsort(units, kind="stable")
    units, people, values = units[order], people[order], values[order]
    both, alike = np.zeros(count * count, np.int64), np.zeros(count * count, np.int64)
    step = 1
    while step < len(units) and (same := units[step:] == units[:-step]).any():
        first, second = people[:-step][same], people[step:][same]
        agree = np.abs(values[:-step][same] - values[step:][same]) <= near
        met = first * count + second
        both += np.bincount(met, minlength=count * count)
        alike += np.bincount(met[agree], minlength=count * count)
        step += 1
    return Pairs(_mirrored(both, count), _mirrored(alike, count))


def with_others(units: Ints, values: Ints, *, near: int = 0) -> Floats:
    """Of each verdict the share of the others on the same unit that are alike; not a number where there is no other."""
    if not len(units):
        return np.zeros(0)
    width = int(values.max()) + 1 + 2 * near
    came = np.bincount(units * width + values + near, minlength=(int(units.max()) + 1) * width).reshape(-1, width)
    alike = sum(came[units, values + near + step] for step in range(-near, near + 1)) - 1
    with np.errstate(invalid="ignore"):
        found: Floats = alike / (came.sum(axis=1)[units] - 1)
    return found


def _mirrored(counts: Ints, size: int) -> Ints:
    square = counts.reshape(size, size)
    found = square + square.T
    np.fill_diagonal(found, 0)
    return found
