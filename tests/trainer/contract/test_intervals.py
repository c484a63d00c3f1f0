"""Intervals against figures worked out by hand."""

import pytest

from trainer.contract.intervals import wilson


def test_wilson_interval_of_eight_in_ten() -> None:
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_unanimous_few_are_not_certain() -> None:
    low, high = wilson(1.0, 4)
    assert low == pytest.approx(4 / (4 + 1.959964**2), abs=1e-6)  # n / (n + z squared), where the share is 1
    assert high == pytest.approx(1.0)


def test_no_trial_has_no_interval() -> None:
    with pytest.raises(ValueError):
        wilson(0.5, 0)
