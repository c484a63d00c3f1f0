"""Rankings as rows of a fit: the differences of each two of their answers, then the mean of each, where some were all bad.

The log-likelihood of an order bends in its pairs' differences alone (`davidson_luce.curvature`), so these rows have a slope and a
curvature each like any other label's, and nothing that fits needs to know of orders.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.reward.rankings.davidson_luce import Steps, curvature, ranked, steps_of
from trainer.reward.rankings.ranking import Ranking


class Block(NamedTuple):
    """Rankings of as many answers each."""

    numbers: Tensor  # (N,) int64, in the order they were given
    answers: Tensor  # (N, k) int64
    steps: Steps
    upper: Tensor  # (pairs,) int64, of each two places: the first
    lower: Tensor  # and the second
    pairs: list[list[tuple[int, int]]]  # of each ranking: the better and the worse place of each two that it tells apart

    @property
    def rows(self) -> int:
        return self.answers.shape[0] * len(self.upper)

    def rewards(self, u: Tensor) -> Tensor:
        """(N pairs,) differences -> (N, k) rewards, which add up to 0."""
        count = self.answers.shape[1]
        apart = u.reshape(-1, len(self.upper)) / count
        zeros = apart.new_zeros(apart.shape[0], count)
        return zeros.index_add(1, self.upper, apart).index_add(1, self.lower, -apart)


class RankingRows:
    def __init__(self, rankings: Sequence[Ranking]) -> None:
        sizes: dict[int, list[int]] = defaultdict(list)
        for number, label in enumerate(rankings):
            sizes[len(label.answers)].append(number)
        self.blocks = [_block([rankings[number] for number in numbers], numbers) for _, numbers in sorted(sizes.items())]
        self.bad = torch.tensor([label.all_bad for label in rankings], dtype=torch.bool)
        self.annotators = [label.annotator for label in rankings]
        self.ranking = torch.cat(  # (rows,) of which ranking each row is
            [torch.zeros(0, dtype=torch.long), *(block.numbers.repeat_interleave(len(block.upper)) for block in self.blocks)]
        )

    def __len__(self) -> int:
        return len(self.annotators)

    @property
    def answers(self) -> set[int]:
        return {answer for block in self.blocks for answer in block.answers.flatten().tolist()}

    def differences(self, values: Tensor) -> Tensor:
        """(answers, D) -> (rows, D)"""
        found = [values[block.answers[:, block.upper]] - values[block.answers[:, block.lower]] for block in self.blocks]
        return torch.cat([values[:0], *(part.flatten(0, 1) for part in found)])

    def means(self, values: Tensor) -> Tensor:
        """(answers, D) -> (rankings, D) mean of each ranking's answers."""
        found = values.new_zeros(len(self), values.shape[1])
        for block in self.blocks:
            found[block.numbers] = values[block.answers].mean(1)
        return found

    def loglik(self, u: Tensor, log_nu: Tensor, reliability: Tensor | None) -> Tensor:
        """(rows,) differences -> (rankings,) log-likelihood. With `reliability` (rankings,) it is Crowd-BT's mixture: as often as
        is left of it somebody ranks by the opposite of the rewards.
        """
        found = u.new_zeros(len(self))
        for block, part in zip(self.blocks, self._parts(u), strict=True):
            rewards = block.rewards(part)
            said = ranked(rewards, block.steps, log_nu)
            if reliability is not None:
                eta, meant = reliability[block.numbers], ranked(-rewards, block.steps, log_nu)
                said = torch.logaddexp(eta.log() + said, (1 - eta).log() + meant)
            found = found.index_add(0, block.numbers, said)
        return found

    def hits(self, u: Tensor) -> Tensor:
        """(rows,) differences -> (rankings,) share of the pairs told apart that go the same way, a half where it is 0; NaN
        of a ranking that tells none apart.
        """
        found = torch.full((len(self),), torch.nan, dtype=torch.float64)
        for block, part in zip(self.blocks, self._parts(u), strict=True):
            rewards = block.rewards(part)
            for row, (number, pairs) in enumerate(zip(block.numbers.tolist(), block.pairs, strict=True)):
                if pairs:
                    better, worse = torch.tensor(pairs).unbind(1)
                    margin = rewards[row, better] - rewards[row, worse]
                    found[number] = ((margin > 0).double() + 0.5 * (margin == 0).double()).mean()
        return found

    def curve(self, u: Tensor, log_nu: Tensor, reliability: Tensor | None) -> Tensor:
        """(rows,) curvature of each difference. Of somebody who may rank by the opposite it is (2 eta - 1)^2 of a sure one's:
        none where a coin is thrown, and never negative for that, as the mixture's own could be.
        """
        found = [u.new_zeros(0)]
        for block, part in zip(self.blocks, self._parts(u), strict=True):
            weights = curvature(block.rewards(part), block.steps, log_nu.detach())[:, block.upper, block.lower]
            if reliability is not None:
                weights = weights * (2 * reliability[block.numbers] - 1).square()[:, None]
            found.append(weights.flatten())
        return torch.cat(found)

    def _parts(self, u: Tensor) -> Sequence[Tensor]:
        return torch.split(u, [block.rows for block in self.blocks])


def _block(rankings: Sequence[Ranking], numbers: Sequence[int]) -> Block:
    answers = torch.tensor([label.answers for label in rankings], dtype=torch.long)
    upper, lower = torch.tensor(list(combinations(range(answers.shape[1]), 2)), dtype=torch.long).unbind(1)
    orders = [label.said for label in rankings]
    return Block(torch.tensor(numbers), answers, steps_of(orders), upper, lower, [list(order.pairs()) for order in orders])
