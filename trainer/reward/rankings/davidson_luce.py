"""How an order of several answers arises from their rewards: Plackett and Luce's choices in turn, with ties as Davidson's.

From the answers that are left a person chooses the best, or several that are equally the best, until none is left:
`P(S chosen | A left) = f(S) / sum of f(T) over every T in A`, with `f(S) = nu^(|S| - 1) exp(mean of the rewards in S)`. That is
the Davidson-Luce model (Firth, Kosmidis & Turner 2019, arXiv:1909.07123; Turner, van Etten, Firth & Kosmidis 2020,
Computational Statistics 35) with one departure: it has a free delta_n for ties of each size n; here delta_n = nu^(n - 1). Of two
answers it is `likelihoods.davidson` with the same nu; as nu goes to 0 it is Plackett-Luce (Luce 1959; Plackett 1975), whose
partial orders from the top are the exploded logit (Beggs, Cardell & Hausman 1981).

A partial order has the sum of the probabilities of all orders, ties included, that agree with it. Those left at the end of an
order need no sum: whatever comes then adds up to 1. What was passed over before a `last` group is summed over, course by course.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.contract.judgements.order import Order

Step = tuple[int, int]  # who was chosen, and who were left to choose from, as sets of bits


class Steps(NamedTuple):
    """The choices of many rankings of k answers each. A course is one order that agrees with a ranking."""

    ranking: Tensor  # (S,) int64, of each choice
    course: Tensor  # (S,) int64, of each choice
    chosen: Tensor  # (S,) int64, the set
    left: Tensor  # (S,) int64, the set it was chosen from
    ranking_of: Tensor  # (C,) int64, of each course
    rankings: int


def courses(order: Order) -> list[list[Step]]:
    """Every way in which choices in turn can have led to an order: one, unless some were passed over before the last group."""
    left, begin = (1 << order.size) - 1, list[Step]()
    for group in order.order:
        begin.append((_bits(group), left))
        left &= ~_bits(group)
    if not order.last:
        return [begin]
    last = _bits(order.last)
    return [[*begin, *middle, (last, last)] for middle in _ways_down(left, last)]


def steps_of(orders: Sequence[Order]) -> Steps:
    """The choices of orders of as many answers each. A choice of the only one left says nothing, and is left out."""
    rows, ranking_of = list[tuple[int, int, int, int]](), list[int]()
    for number, order in enumerate(orders):
        for course in courses(order):
            rows += [(number, len(ranking_of), some, of) for some, of in course if of.bit_count() > 1]
            ranking_of.append(number)
    ranking, course_of, chosen, left = torch.tensor(rows, dtype=torch.long).reshape(-1, 4).unbind(1)
    return Steps(ranking, course_of, chosen, left, torch.tensor(ranking_of, dtype=torch.long), len(orders))


def ranked(
    rewards: Tensor,  # (N, k) of each ranking's answers, as they were shown
    steps: Steps,
    log_nu: Tensor,  # scalar, how readily people say "equal"
) -> Tensor:
    """(N,) log-likelihood of each order; 0 of one that says nothing."""
    mean, size, inside = _subsets(rewards.shape[1])
    worth = rewards @ mean.to(rewards.dtype).T + (size - 1) * log_nu  # (N, sets)
    offered = worth[steps.ranking]
    total = offered.masked_fill(~inside[steps.left - 1], -torch.inf).logsumexp(1)
    step = offered.gather(1, steps.chosen[:, None] - 1)[:, 0] - total
    course = rewards.new_zeros(len(steps.ranking_of)).index_add(0, steps.course, step)
    most = rewards.new_full((steps.rankings,), -torch.inf).scatter_reduce(0, steps.ranking_of, course.detach(), "amax")
    apart = (course - most[steps.ranking_of]).exp()
    return most + rewards.new_zeros(steps.rankings).index_add(0, steps.ranking_of, apart).log()


def curvature(
    rewards: Tensor,  # (N, k)
    steps: Steps,
    log_nu: Tensor,  # scalar
) -> Tensor:
    """(N, k, k) weights of the differences of each two rewards in the curvature: minus the Hessian is the sum over pairs of
    `w_ij (e_i - e_j)(e_i - e_j)'`, because nothing changes where all rewards rise together.

    So an order is to a fit what as many differences are. Where equals are likelier than choices a weight can be under 0.
    """
    at = rewards.detach().requires_grad_()
    (slope,) = torch.autograd.grad(ranked(at, steps, log_nu).sum(), at, create_graph=True)
    rows = [torch.autograd.grad(slope[:, one].sum(), at, retain_graph=True)[0] for one in range(rewards.shape[1])]
    return torch.stack(rows, 1)


def _bits(group: Sequence[int]) -> int:
    return sum(1 << place for place in group)


def _ways_down(left: int, last: int) -> Iterator[list[Step]]:
    """Every order, with ties, in which all but the last group can be chosen before it."""
    passed = left & ~last
    if not passed:
        yield []
        return
    for chosen in _parts(passed):
        for rest in _ways_down(left & ~chosen, last):
            yield [(chosen, left), *rest]


def _parts(whole: int) -> Iterator[int]:
    """Its subsets, less the empty one."""
    part = whole
    while part:
        yield part
        part = (part - 1) & whole


@lru_cache(maxsize=16)
def _subsets(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the sets 1 to 2^k - 1: (sets, k) shares of the mean, (sets,) sizes, (sets, sets) which are inside of which."""
    sets = torch.arange(1, 1 << count)
    member = (sets[:, None] >> torch.arange(count)) & 1
    size = member.sum(1)
    return member.double() / size[:, None], size.double(), (sets[:, None] & sets[None, :]) == sets[None, :]
