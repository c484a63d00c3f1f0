"""Intervals of shares, as pages and runs state them."""

from __future__ import annotations

import math
from typing import Final

NORMAL_95: Final = 1.959964  # the 97.5 % quantile of the standard normal distribution


def wilson(share: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share seen in `count` trials, within 0 and 1. Wilson 1927, JASA 22(158), eq. 3.

    A part of a trial counts, as of trials that go together. Raises ValueError for no trial at all.
    """
    if count < 1:
        raise ValueError("an interval needs at least one trial")
    z = NORMAL_95
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)
