"""A ranking as a label: an order of answers, by one person. No tensors."""

from __future__ import annotations

from typing import NamedTuple

from trainer.contract.judgements.order import Order


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
