"""What counts as scores."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from trainer.contract.folder import Unanswered
from trainer.outside.scores import LARGEST, checked


def test_every_kind_of_real_number_counts() -> None:
    given: Any = (1, 2.5, Fraction(1, 4), np.float32(0.5), np.int64(-3), LARGEST)
    assert checked("tone", given, 6) == [1.0, 2.5, 0.25, 0.5, -3.0, LARGEST]
    assert checked("tone", np.array([1.0, 2.0]), 2) == [1.0, 2.0]
    assert checked("tone", (float(index) for index in range(2)), 2) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (None, "outside_no_scores"),
        (7, "outside_no_scores"),
        ("12", "outside_no_scores"),
        (["1", "2"], "outside_no_scores"),
        ([True, False], "outside_no_scores"),
        ([1j, 2], "outside_no_scores"),
        ([1], "outside_count"),
        ([], "outside_count"),
        ([1, float("nan")], "outside_not_finite"),
        ([1, -float("inf")], "outside_not_finite"),
        ([1, 10 * LARGEST], "outside_not_finite"),
        ([1, 10**400], "outside_not_finite"),
    ],
)
def test_anything_else_is_refused(given: object, code: str) -> None:
    with pytest.raises(Unanswered) as ended:
        checked("tone", given, 2)
    assert ended.value.message.code == code
