"""A ranking as a label."""

from __future__ import annotations

from trainer.reward.rankings.ranking import Ranking


def test_its_ends_are_those_that_somebody_named() -> None:
    whole = Ranking((10, 11, 12), ((2,), (0,), (1,)), (), False, "anna", "p")
    assert whole.pairs == [(12, 10), (12, 11), (10, 11)]
    assert (whole.best, whole.worst) == ((12,), (11,))
    first = whole._replace(order=((2,),))
    assert (first.best, first.worst) == ((12,), ())
    extremes = whole._replace(order=((2,),), last=(0,))
    assert (extremes.best, extremes.worst) == ((12,), (10,))
    equal = whole._replace(order=((0, 1, 2),))
    assert (equal.pairs, equal.best, equal.worst) == ([], (), ())
