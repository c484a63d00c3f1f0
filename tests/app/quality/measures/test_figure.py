"""A share and its interval, and what too few tell."""

from __future__ import annotations

import pytest

from app.quality.measures.figure import Figure, share
from trainer.contract.intervals import wilson


def test_a_share_has_wilsons_interval() -> None:
    found = share(18, 20)
    assert (found.n, found.value) == (20, 0.9)
    assert (found.low, found.high) == wilson(0.9, 20)
    assert share(0, 0) == Figure(0)


@pytest.mark.parametrize(("n", "enough"), [(29, False), (30, True)])
def test_under_thirty_nothing_is_made_of_a_figure(n: int, enough: bool) -> None:
    assert share(n / 2, n).enough is enough
    assert not Figure(n).enough
