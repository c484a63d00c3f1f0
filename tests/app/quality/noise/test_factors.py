from __future__ import annotations

import numpy as np
import pytest

from app.quality.noise.factors import others, places


def test_what_others_say_of_a_question_by_hand() -> None:
    """Two people at .6 along the first factor: m = .6 y / (.36 + .64) = .6 y of the other, whatever one said oneself."""
    items, people = np.array([0, 0]), np.array([0, 1])

    found = others(items, people, np.array([1.0, -1.0]), np.array([[0.6, 0.0], [0.6, 0.0]]))

    assert found.tolist() == [pytest.approx([-0.6, 0.0]), pytest.approx([0.6, 0.0])]


def test_planted_places_are_recovered_up_to_a_turn() -> None:
    """Seven of one direction, three of another, one who throws a coin, one who says the opposite."""
    wanted = np.array([[0.8, 0.0]] * 7 + [[0.0, 0.8]] * 3 + [[0.0, 0.0], [-0.8, 0.0]])
    draw = np.random.default_rng(0)
    items, people = np.repeat(np.arange(1200), 5), np.concatenate([draw.permutation(12)[:5] for _ in range(1200)])
    factors = np.stack([2 * draw.integers(0, 2, 1200) - 1, 2 * draw.integers(0, 2, 1200) - 1], 1)
    chance = (1 + (factors[items] * wanted[people]).sum(1)) / 2
    signs = np.where(draw.random(len(items)) < chance, 1.0, -1.0)

    found = places(items, people, signs, 12)

    assert np.abs(found @ found.T - wanted @ wanted.T)[~np.eye(12, dtype=bool)].max() < 0.25
    assert found[:7, 0].min() > 0.6
    assert np.abs(found[7:11, 0]).max() < 0.3
    assert found[11, 0] < -0.5
