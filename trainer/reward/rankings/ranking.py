"""A ranking as a label, and what it says of each two of its answers. No tensors.

Places are of the answers as they were shown, 0 to k - 1. `order` has those that were placed, the best first, in groups of equals;
`last` those that were called the worst, equals too. An answer in neither is worse than all of `order` and better than all of
`last`; how such answers compare with each other was not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

FEWEST, MOST = 3, 6  # answers of a ranking, as people are asked; two are a comparison


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


class Ranking(NamedTuple):
    answers: tuple[int, ...]  # indices into Labels.answers, as they were shown
    order: tuple[tuple[int, ...], ...]  # places in `answers`
    last: tuple[int, ...]
    all_bad: bool  # the person called every one of them bad, and placed none
    annotator: str
    prompt_key: str

    @property
    def said(self) -> Order:
        return Order(len(self.answers), self.order, self.last)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The better and the worse answer of each two that it tells apart."""
        return [(self.answers[better], self.answers[worse]) for better, worse in self.said.pairs()]

    @property
    def best(self) -> tuple[int, ...]:
        """The answers that stand above others, at the top."""
        return tuple(self.answers[place] for place in self.order[0]) if self.order and self.pairs else ()

    @property
    def worst(self) -> tuple[int, ...]:
        """The answers that stand below others, at the end: those called the worst, else the end of an order of all."""
        if self.last:
            return tuple(self.answers[place] for place in self.last)
        return tuple(self.answers[place] for place in self.order[-1]) if self.pairs and not self.said.unplaced else ()
