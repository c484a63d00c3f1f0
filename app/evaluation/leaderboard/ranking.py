"""Contenders ranked by Bradley-Terry from who met whom how often. Pure: no tables.

P(i wins against j) = s_i / (s_i + s_j), a tie half a win to each (Bradley & Terry 1952), fitted by evalica. Each contender
also has one made-up tie against the base: so that the fit exists where somebody never lost, and draws nobody with many
verdicts anywhere.

Intervals are normal in log s_i - log s_base, by the curvature of the likelihood, and take verdicts for independent of each
other. They are no test: what decides a round is `app/evaluation/decision.py`.

Without length: within each pair of contenders verdicts are weighed so that either's answer was the longer one equally often.
What one of them wins by being longer the other then wins as often; where only one was ever longer, nothing can be said, and
those verdicts count nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from trainer.contract.intervals import NORMAL_95

FEW: Final = 30  # verdicts; under these a place says nothing
MADE_UP: Final = 1.0  # ties of each contender with the base


@dataclass(frozen=True, slots=True)
class Met:
    """What came of two contenders who met. `longer`: 1 where the first's answer was a quarter longer, -1 the second's, else 0."""

    first: int
    second: int
    longer: int
    wins: float  # of the first
    ties: float
    losses: float

    @property
    def verdicts(self) -> float:
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, slots=True)
class Standing:
    """`rate`: how often it would win against the base, ties halved, as all its verdicts say; of the base .5."""

    contender: int
    verdicts: int  # that count
    rate: float
    lower: float
    upper: float
    enough: bool  # FEW verdicts, and somebody who met somebody who met the base


class Pair(NamedTuple):
    """All that two contenders were said of each other, each verdict with its weight."""

    first: int
    second: int
    wins: float
    ties: float
    losses: float
    tells: float  # as many equal verdicts would tell as much


def rank(met: Iterable[Met], contenders: Collection[int], base: int, *, without_length: bool = False) -> list[Standing]:
    """The best first; those of whom too few verdicts are known last. `contenders` may have more than met anybody; base is one."""
    pairs = _pairs(list(met), without_length)
    verdicts: dict[int, float] = defaultdict(float)
    for pair in pairs:
        for one in (pair.first, pair.second):
            verdicts[one] += pair.wins + pair.ties + pair.losses
    others = [one for one in contenders if one != base]
    known = _reached(pairs, base)
    strength = _strengths(pairs, others, base)
    deviation = _deviations(pairs, others, base, strength)
    found = [
        Standing(
            one,
            round(verdicts[one]),
            _chance(strength[one]),
            _chance(strength[one] - NORMAL_95 * deviation[one]),
            _chance(strength[one] + NORMAL_95 * deviation[one]),
            verdicts[one] >= FEW and one in known,
        )
        for one in others
    ]
    found.append(Standing(base, round(verdicts[base]), 0.5, 0.5, 0.5, True))
    return sorted(found, key=lambda one: (not one.enough, -one.rate, one.contender))


def _pairs(met: Sequence[Met], without_length: bool) -> list[Pair]:
    by_pair: dict[tuple[int, int], dict[int, Met]] = defaultdict(dict)
    for one in met:
        by_pair[one.first, one.second][one.longer] = one
    return [
        pair
        for (first, second), by_length in by_pair.items()
        if (pair := _pair(first, second, by_length, without_length)).tells > 0
    ]


def _pair(first: int, second: int, by_length: dict[int, Met], without_length: bool) -> Pair:
    weights = dict.fromkeys(by_length, 1.0)
    if without_length:
        ways = {way: by_length[way].verdicts if way in by_length else 0.0 for way in (1, -1)}
        both = min(ways.values()) > 0
        for way in set(ways) & set(weights):
            weights[way] = sum(ways.values()) / 2.0 / ways[way] if both else 0.0
    wins, ties, losses, total, squares = 0.0, 0.0, 0.0, 0.0, 0.0
    for way, weight in weights.items():
        one = by_length[way]
        wins, ties, losses = wins + weight * one.wins, ties + weight * one.ties, losses + weight * one.losses
        total, squares = total + weight * one.verdicts, squares + weight**2 * one.verdicts
    return Pair(first, second, wins, ties, losses, total**2 / squares if squares else 0.0)


def _strengths(pairs: Sequence[Pair], others: Sequence[int], base: int) -> dict[int, float]:
    """log s less the base's."""
    from evalica import Winner, bradley_terry  # here: it brings pandas and SciPy

    played = [
        (pair.first, pair.second, winner, weight)
        for pair in pairs
        for winner, weight in ((Winner.X, pair.wins), (Winner.Draw, pair.ties), (Winner.Y, pair.losses))
        if weight > 0
    ]
    played += [(one, base, Winner.Draw, MADE_UP) for one in others]
    if not played:
        return {base: 0.0}
    firsts, seconds, winners, weights = (list(column) for column in zip(*played, strict=True))
    scores = bradley_terry(firsts, seconds, winners, weights=weights, tolerance=1e-9, limit=100_000).scores
    return {one: math.log(float(scores[one])) - math.log(float(scores[base])) for one in (*others, base)}


def _deviations(pairs: Sequence[Pair], others: Sequence[int], base: int, strength: dict[int, float]) -> dict[int, float]:
    """Of log s less the base's: the inverse of the curvature, in which the base does not move."""
    import numpy as np

    place = {one: number for number, one in enumerate(others)}
    curvature = np.zeros((len(others), len(others)))
    told = [(pair.first, pair.second, pair.tells) for pair in pairs] + [(one, base, MADE_UP) for one in others]
    for first, second, verdicts in told:
        chance = _chance(strength[first] - strength[second])
        at = [(place[one], sign) for one, sign in ((first, 1.0), (second, -1.0)) if one in place]
        for row, one in at:
            for column, other in at:
                curvature[row, column] += one * other * verdicts * chance * (1.0 - chance)
    variance = np.diag(np.linalg.inv(curvature)) if others else np.zeros(0)
    return {one: math.sqrt(float(variance[place[one]])) for one in others}


def _reached(pairs: Sequence[Pair], base: int) -> set[int]:
    """Who met the base, or somebody who did, and so on."""
    beside: dict[int, set[int]] = defaultdict(set)
    for pair in pairs:
        beside[pair.first].add(pair.second)
        beside[pair.second].add(pair.first)
    found, waiting = {base}, [base]
    while waiting:
        new = beside[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _chance(strength: float) -> float:
    return 1.0 / (1.0 + math.exp(-strength))
