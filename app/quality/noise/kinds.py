"""Noise or taste: how probable it is of each person that they decide as most do, by chance, against all, or by their own taste.

From three things together: what they said of questions that others answered, too (`factors.py`), known answers, and repeats. Of a
person's place in the disk the likelihood is counted on a grid, the others held. Whoever throws a coin is foretold by nobody and
is not steady; who says the opposite is steady, goes against most, and misses known answers; who has another taste goes with
some and against none, is steady, and knows what everybody knows. Who often takes one side says little by that, and all the more
by what they take on the other. The probabilities are of a model, and no test that a pause could rest on.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from app.quality.measures.by_person import Bools, Floats, Ints
from app.quality.noise.factors import others, places

Kind = Literal["shared", "chance", "opposite", "taste"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

BEFORE: Final = (0.6, 0.15, 0.1, 0.15)  # how probable each is, before anything was said
NOBODY: Final = 0.2  # so short a place says that others foretell nothing
ALONG, AGAINST = 0.7, -0.6  # cosines to the direction of most
CLEAR: Final = 0.8  # a known answer: right of who decides as most do with probability (1 + CLEAR) / 2
STEADY: Final = 0.3  # at least, of who throws no coin: the same twice with probability (1 + STEADY) / 2
LATEST: Final = 200  # verdicts of each person that are looked at
LEAST: Final = 0.05

_LENGTH, _ANGLE = (part.ravel() for part in np.meshgrid(np.arange(10) / 10, 2 * np.pi * np.arange(24) / 24, indexing="ij"))
_GRID: Final = np.column_stack([_LENGTH * np.cos(_ANGLE), _LENGTH * np.sin(_ANGLE)])
_KIND: Final = np.where(
    _LENGTH <= NOBODY, 1, np.where(np.cos(_ANGLE) > ALONG, 0, np.where(np.cos(_ANGLE) < AGAINST, 2, 3))
)  # as in KINDS
_PRIOR: Final = np.log(np.array(BEFORE)[_KIND] / np.bincount(_KIND)[_KIND])


class Checks(NamedTuple):
    """Of each person, (people,): how often they were asked something known, and right; asked again, and said the same."""

    known: Floats
    right: Floats
    again: Floats
    same: Floats


def probabilities(items: Ints, people: Ints, signs: Floats, left: Bools, checks: Checks) -> Floats:
    """(people, kinds). One entry a verdict for one of two answers, +1 or -1, and whether the chosen one stood left, in the order
    in which they came.
    """
    count = len(checks.known)
    kept = latest(people, count)
    items, people, signs, left = np.unique(items[kept], return_inverse=True)[1], people[kept], signs[kept], left[kept]
    if not len(items):
        return np.tile(BEFORE, (count, 1))
    means = others(items, people, signs, places(items, people, signs, count))
    found = _PRIOR + _of_checks(checks)
    for one in range(count):
        mine = people == one
        by_answer = np.maximum(LEAST, 1.0 + signs[mine, None] * (means[mine] @ _GRID.T))  # twice a probability
        habit = side_habit(left[mine])
        by_side = np.where(left[mine] == (habit > 0), 2.0, 0.0)
        found[one] += np.log((1 - abs(habit)) * by_answer + abs(habit) * by_side[:, None]).sum(0)
    chance = np.exp(found - found.max(axis=1, keepdims=True))
    summed: Floats = np.column_stack([chance[:, kind == _KIND].sum(1) for kind in range(len(KINDS))])
    summed /= summed.sum(1, keepdims=True)
    return summed


def side_habit(left: Bools) -> float:
    """Which share of choices went by the side alone: above 0 to the left, below to the right. Sides are drawn, so that of
    somebody without the habit half are left; the standard error of that is taken off.
    """
    if not len(left):
        return 0.0
    lean = 2.0 * float(left.mean()) - 1.0
    return math.copysign(max(0.0, abs(lean) - len(left) ** -0.5), lean)


def latest(people: Ints, count: int) -> Ints:
    """Where the latest verdicts of each person stand, in their order."""
    backwards = people[::-1]
    order = np.argsort(backwards, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(people, minlength=count))[:-1]])
    rank = np.empty(len(people), np.int64)
    rank[order] = np.arange(len(people)) - first[backwards[order]]
    found: Ints = np.flatnonzero(rank[::-1] < LATEST)
    return found


def _of_checks(checks: Checks) -> Floats:
    """(people, grid) log-likelihood."""
    lean = np.array([CLEAR, 0.0, -CLEAR, CLEAR])[_KIND]
    steady = np.where(KINDS.index("chance") == _KIND, 0.0, np.maximum(STEADY, _LENGTH**2))
    known, right, again, same = (column[:, None] for column in checks)
    found: Floats = right * np.log(1 + lean) + (known - right) * np.log(1 - lean)
    found += same * np.log(1 + steady) + (again - same) * np.log(1 - steady)
    return found
