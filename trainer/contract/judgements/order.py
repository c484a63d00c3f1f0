"""An order of several answers, partial where some were not placed, and what it says of each two of them. Standard library only.

Places are of the answers as they were shown, 0 to k - 1. `order` has those that were placed, the best first, in groups of equals;
`last` those that were called the worst, equals too. An answer in neither is worse than all of `order` and better than all of
`last`; how such answers compare with each other was not said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple


class Order(NamedTuple):
    """An order of k answers, partial where some are in no group."""

    size: int  # k
    order: tuple[tuple[int, ...], ...]
    last: tuple[int, ...] = ()

    @property
    def unplaced(self) -> tuple[int, ...]:
        placed = {place for group in (*self.order, self.last) for place in group}
        return tuple(place for place in range(self.size) if place not in placed)

    @property
    def is_sound(self) -> bool:
        """Whether no group is empty, no answer stands twice, and all of them are there."""
        placed = [place for group in (*self.order, self.last) for place in group]
        return all(self.order) and len(placed) == len(set(placed)) and set(placed) <= set(range(self.size))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """The better and the worse of each two answers that it tells apart."""
        layers = [layer for layer in (*self.order, self.unplaced, self.last) if layer]
        for upper, lower in combinations(layers, 2):
            yield from ((better, worse) for better in upper for worse in lower)


def order_of(said: Mapping[str, Any], size: int) -> Order:
    """As labels and files have it, with answers numbered from 1."""
    groups = tuple(tuple(int(number) - 1 for number in group) for group in said["order"])
    return Order(size, groups, tuple(int(number) - 1 for number in said.get("last", ())))
