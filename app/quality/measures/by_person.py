"""Figures of many people at once."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.quality.measures.figure import NOTHING, Figure, share
from trainer.contract.intervals import NORMAL_95

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


def shares_by(person: Ints, hit: Bools | Floats, people: int) -> list[Figure]:
    """How often each person's trials hit. `person` and `hit` have one entry a trial; a part of a hit counts as that."""
    n = np.bincount(person, minlength=people)
    hits = np.bincount(person, weights=hit.astype(np.float64), minlength=people)
    return [share(float(found), int(count)) for found, count in zip(hits, n, strict=True)]


def means_by(person: Ints, value: Floats, people: int) -> list[Figure]:
    """The mean of each person's values, with the normal interval of a mean; none of fewer than two values."""
    n = np.bincount(person, minlength=people)
    total = np.bincount(person, weights=value, minlength=people)
    squares = np.bincount(person, weights=value**2, minlength=people)
    return [_mean(int(one), float(summed), float(squared)) for one, summed, squared in zip(n, total, squares, strict=True)]


def _mean(n: int, total: float, squares: float) -> Figure:
    if n < 2:
        return Figure(n)
    mean = total / n
    half = NORMAL_95 * math.sqrt(max(0.0, squares - n * mean**2) / (n - 1) / n)
    return Figure(n, mean, mean - half, mean + half)


def medians_by(person: Ints, value: Floats, people: int) -> list[Figure]:
    """The median of each person's values. Its interval reaches from one of them to another, whatever their distribution."""
    order = np.lexsort((value, person))
    n = np.bincount(person, minlength=people)
    ends = np.cumsum(n)
    values = value[order]
    return [_median(values[end - count : end]) for end, count in zip(ends, n, strict=True)]


def _median(ordered: Floats) -> Figure:
    n = len(ordered)
    if not n:
        return NOTHING
    half = NORMAL_95 * math.sqrt(n) / 2  # in ranks: of n fair coins
    low, high = max(0, math.floor(n / 2 - half)), min(n - 1, math.ceil(n / 2 + half))
    return Figure(n, float(np.median(ordered)), float(ordered[low]), float(ordered[high]))
