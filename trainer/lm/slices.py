"""What is read in one pass: rows of like lengths, within a budget of rows and of tokens. Changes no result beyond rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor


class Budget(NamedTuple):
    """What one pass may hold, padding counted; one row in any case."""

    rows: int
    tokens: int

    def rows_of(self, length: int) -> int:
        """How many rows of this many tokens."""
        return max(1, min(self.rows, self.tokens // max(1, length)))


def slices(lengths: Tensor, budget: Budget) -> Iterator[Tensor]:
    """Places in `lengths` (N,), tokens of each row, a slice at a time: alike, so that little is padding, the longest first."""
    order = lengths.argsort(descending=True, stable=True)
    while len(order):
        rows = budget.rows_of(int(lengths[order[0]]))
        yield order[:rows]
        order = order[rows:]
