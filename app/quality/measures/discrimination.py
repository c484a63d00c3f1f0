"""How well each person tells better from worse: Bradley-Terry in which every judge has a discrimination of their own.

P(judge j prefers a to b) = 1 / (1 + exp(-g_j (s_a - s_b))), a tie half a win to each (Bradley & Terry 1952; judges as in
arXiv:2601.21817). g_j is 1 for judges as they are on average, 0 for one who guesses, below 0 for one who says the opposite.
With all of them 1 it is plain Bradley-Terry.

Strengths and discriminations are found in turn, each by Newton's method on a concave likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from app.quality.measures.by_person import Floats, Ints
from app.quality.measures.figure import Figure
from trainer.contract.intervals import NORMAL_95

SPREAD: Final = 1.0  # standard deviation of discriminations around 1, before anything was said
RIDGE: Final = 0.1  # on strengths: the fit exists where somebody never lost, and draws nobody with many verdicts anywhere
TURNS: Final = 10
STEPS: Final = 100
SAME: Final = 1e-3  # discriminations, from a turn to the next
TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts of pairs, one entry each."""

    first: Ints
    second: Ints
    won: Floats  # 1: the first, 0: the second, .5: neither
    judge: Ints


def discriminations(said: Judged, contestants: int, judges: int) -> tuple[list[Figure], Floats]:
    """Each judge's, with its interval, and the strengths that they see together (mean 0). `n` counts verdicts."""
    sharp = np.ones(judges)
    strength = np.zeros(contestants)
    n = np.bincount(said.judge, minlength=judges)
    if not len(said.won):
        return [Figure(0)] * judges, strength
    for _ in range(TURNS):
        before = sharp
        strength = strengths(said, contestants, sharp, start=strength)
        sharp, deviation = _sharpness(said, strength[said.first] - strength[said.second], judges, before)
        scale = float(np.average(sharp, weights=n))
        if scale > 0:  # strengths have no unit of their own: judges are 1 on average
            sharp, deviation = sharp / scale, deviation / scale
        if np.abs(sharp - before).max() < SAME:
            break
    half = NORMAL_95 * deviation
    return [
        Figure(int(count), float(one), float(one - wide), float(one + wide)) if count else Figure(0)
        for count, one, wide in zip(n, sharp, half, strict=True)
    ], strength


def strengths(said: Judged, contestants: int, sharp: Floats, *, start: Floats | None = None, ridge: float = RIDGE) -> Floats:
    """What makes the verdicts likeliest, given each judge's discrimination; mean 0."""
    found = np.zeros(contestants) if start is None else start
    weight = sharp[said.judge]
    for _ in range(STEPS):
        chance = _chance(weight * (found[said.first] - found[said.second]))
        pull = weight * (said.won - chance)
        slope = np.bincount(said.first, pull, contestants) - np.bincount(said.second, pull, contestants) - ridge * found
        step = np.linalg.lstsq(_curvature(said, weight**2 * chance * (1 - chance), contestants, ridge), slope, rcond=None)[0]
        step *= min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))  # no leap where somebody hardly ever lost
        found = found + step
        if np.abs(step).max() < TOLERANCE * 1e-3:
            break
    centred: Floats = found - found.mean()
    return centred


def _curvature(said: Judged, told: Floats, size: int, ridge: float) -> Floats:
    met = np.bincount(said.first * size + said.second, told, size * size).reshape(size, size)
    met = met + met.T
    found: Floats = np.diag(met.sum(axis=1) + ridge) - met
    return found


def _sharpness(said: Judged, margin: Floats, judges: int, start: Floats) -> tuple[Floats, Floats]:
    """Each judge's discrimination given how far apart the two of each pair are, and how far it may be off."""
    found = start
    for _ in range(STEPS):
        chance = _chance(found[said.judge] * margin)
        slope = np.bincount(said.judge, margin * (said.won - chance), judges) - (found - 1.0) / SPREAD**2
        told = np.bincount(said.judge, margin**2 * chance * (1 - chance), judges) + 1.0 / SPREAD**2
        step = np.clip(slope / told, -1.0, 1.0)
        found = found + step
        if np.abs(step).max() < TOLERANCE * 1e-2:
            break
    return found, 1.0 / np.sqrt(told)


def _chance(margin: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-np.clip(margin, -500.0, 500.0)))
    return found
