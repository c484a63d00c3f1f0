"""Figures of many people at once: each by hand, or as SciPy has it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from app.quality.measures.by_person import means_by, medians_by, shares_by
from app.quality.measures.figure import Figure


def test_each_persons_trials_are_their_own() -> None:
    person, hit = np.array([0, 2, 0, 0]), np.array([True, True, False, False])
    one, nobody, other = shares_by(person, hit, 3)
    assert one.n == 3
    assert one.value == pytest.approx(1 / 3)
    assert nobody == Figure(0)
    assert (other.n, other.value) == (1, 1.0)


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(3.0, 2.0, 400)
    person = draw.integers(0, 2, 400)
    for number, found in enumerate(means_by(person, values, 2)):
        mine = values[person == number]
        assert found.n == len(mine)
        assert found.value == pytest.approx(mine.mean())
        low, high = stats.norm.interval(0.95, mine.mean(), stats.sem(mine))
        assert found.low == pytest.approx(low, abs=1e-6)
        assert found.high == pytest.approx(high, abs=1e-6)
    assert means_by(np.array([0]), np.array([4.0]), 1) == [Figure(1)]


def test_the_interval_of_a_median_has_it_nineteen_times_of_twenty() -> None:
    draw = np.random.default_rng(2)
    values = draw.exponential(size=(500, 41))
    person = np.repeat(np.arange(500), 41)
    found = medians_by(person, values.ravel(), 500)
    assert found[7].value == pytest.approx(np.median(values[7]))
    had = [one.low <= np.log(2) <= one.high for one in found if one.low is not None and one.high is not None]
    assert 0.93 < np.mean(had) <= 0.99
    assert medians_by(np.array([1, 1]), np.array([3.0, 1.0]), 3) == [Figure(0), Figure(2, 2.0, 1.0, 3.0), Figure(0)]
