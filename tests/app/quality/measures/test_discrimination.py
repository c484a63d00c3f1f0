"""Bradley-Terry as evalica has it, and judges told apart: who guesses, who says the opposite, and how surely."""

from __future__ import annotations

import numpy as np
import pytest
from evalica import Winner, bradley_terry

from app.quality.measures.by_person import Floats
from app.quality.measures.discrimination import Judged, discriminations, strengths

TRUE = np.array([0.0, 0.5, 1.0, 1.5, 2.0])


def judged(sharp: Floats, each: int, seed: int) -> Judged:
    """`each` verdicts of every judge on random pairs; every tenth a tie."""
    draw = np.random.default_rng(seed)
    judge = np.repeat(np.arange(len(sharp)), each)
    first = draw.integers(0, len(TRUE), len(judge))
    second = (first + draw.integers(1, len(TRUE), len(judge))) % len(TRUE)
    chance = 1 / (1 + np.exp(-sharp[judge] * (TRUE[first] - TRUE[second])))
    won = (draw.random(len(judge)) < chance).astype(np.float64)
    won[::10] = 0.5
    return Judged(first, second, won, judge)


def test_with_judges_alike_it_is_what_evalica_finds() -> None:
    said = judged(np.ones(6), 200, 1)
    winners = [{1.0: Winner.X, 0.0: Winner.Y, 0.5: Winner.Draw}[one] for one in said.won]
    scores = bradley_terry(list(said.first), list(said.second), winners, tolerance=1e-12, limit=100_000).scores
    theirs = np.log(scores.sort_index().to_numpy())
    np.testing.assert_allclose(strengths(said, 5, np.ones(6), ridge=0.0), theirs - theirs.mean(), atol=1e-6)


def test_who_guesses_and_who_says_the_opposite_is_found() -> None:
    sharp = np.array([1.3, 1.3, 1.3, 1.3, 1.3, 0.0, -1.3])
    found, _ = discriminations(judged(sharp, 400, 2), len(TRUE), len(sharp))
    *careful, guesses, opposite = found
    assert all(one.low is not None and one.low > 0.5 for one in careful)
    assert guesses.low is not None
    assert guesses.high is not None
    assert guesses.low < 0 < guesses.high < 0.5
    assert opposite.high is not None
    assert opposite.high < -0.5
    assert all(one.n == 400 for one in found)


def test_the_interval_has_the_truth_nineteen_times_of_twenty() -> None:
    sharp = np.array([0.4, 0.8, 1.0, 1.2, 1.6])
    had = []
    for seed in range(40):
        found, _ = discriminations(judged(sharp, 300, seed), len(TRUE), len(sharp))
        had += [one.low <= true <= one.high for one, true in zip(found, sharp, strict=True) if one.low and one.high]
    assert np.mean(had) == pytest.approx(0.95, abs=0.04)


def test_who_said_little_is_taken_for_like_the_others_and_told_so_with_a_wide_interval() -> None:
    said = judged(np.ones(4), 200, 3)
    few = Judged(np.append(said.first, 4), np.append(said.second, 0), np.append(said.won, 1.0), np.append(said.judge, 4))
    *_, found, nobody = discriminations(few, len(TRUE), 6)[0]
    assert found.value == pytest.approx(1.0, abs=0.7)
    assert found.low is not None
    assert found.low < 0
    assert nobody.value is None


def test_somebody_who_never_lost_has_a_strength() -> None:
    said = Judged(np.array([0, 0, 1]), np.array([1, 2, 2]), np.ones(3), np.zeros(3, np.int64))
    found, strength = discriminations(said, 3, 1)
    assert np.isfinite(strength).all()
    assert strength[0] > strength[1] > strength[2]
    assert found[0].n == 3
    assert discriminations(Judged(*(np.zeros(0, np.int64),) * 2, np.zeros(0), np.zeros(0, np.int64)), 2, 1)[0][0].n == 0
