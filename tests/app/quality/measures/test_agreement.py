"""Alpha as the package `krippendorff` has it and as its author worked it out, its interval, and pairs by hand."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest

from app.quality.measures.agreement import Level, alpha, pairs
from app.quality.measures.by_person import Floats, Ints

# Krippendorff 2011, section C: four observers, twelve units, values 1 to 5, some missing.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def long(table: Floats) -> tuple[Ints, Ints]:
    """The verdicts of (people, units) that are there, one entry each."""
    there = ~np.isnan(table)
    return np.nonzero(there)[1], table[there].astype(np.int64)


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_the_published_example(level: Level, value: float) -> None:
    table = np.array([[np.nan if one is None else one for one in row] for row in PUBLISHED], np.float64)
    found = alpha(*long(table), level)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.n == 40  # the unit that one observer alone saw says nothing
    assert found.low is not None
    assert found.high is not None
    assert found.low < value < found.high


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_the_package_finds(level: Level, seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 5, 60)
    table = np.where(draw.random((7, 60)) < 0.6, truth, draw.integers(0, 5, (7, 60))).astype(np.float64)
    table[draw.random((7, 60)) < 0.5] = np.nan
    theirs = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert alpha(*long(table), level).value == pytest.approx(theirs, abs=1e-9)


def test_the_interval_has_the_alpha_of_many_units_most_times() -> None:
    draw = np.random.default_rng(3)

    def judged(units: int) -> tuple[Ints, Ints]:
        truth = draw.integers(0, 3, units)
        said = np.where(draw.random((3, units)) < 0.7, truth, draw.integers(0, 3, (3, units)))
        return np.tile(np.arange(units), 3), said.ravel()

    true = alpha(*judged(200_000), "nominal").value
    assert true is not None
    had = []
    for _ in range(200):
        found = alpha(*judged(80), "nominal")
        assert found.low is not None
        assert found.high is not None
        had.append(found.low <= true <= found.high)
    assert np.mean(had) > 0.9


def test_nothing_is_told_where_nobody_could_have_differed() -> None:
    units = np.array([0, 0, 1, 1])
    assert alpha(units, np.array([2, 2, 2, 2]), "nominal").value is None
    assert alpha(np.array([0, 1, 2]), np.array([0, 1, 0]), "ordinal").n == 0
    assert alpha(np.zeros(0, np.int64), np.zeros(0, np.int64), "ordinal").n == 0


def test_pairs_by_hand() -> None:
    units = np.array([5, 9, 5, 9, 5])
    people = np.array([0, 0, 1, 2, 2])
    values = np.array([1, 4, 1, 3, 2])
    found = pairs(units, people, values, 3)
    assert found.both.tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    assert found.alike.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    near = pairs(units, people, values, 3, near=1)
    assert near.alike.tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
