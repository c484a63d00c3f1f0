"""The likelihood of an order, against sums over every order there is, and against Davidson's and Plackett's own formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, permutations

import pytest
import torch

from trainer.contract.judgements.order import Order
from trainer.reward import likelihoods
from trainer.reward.rankings.davidson_luce import curvature, ranked, steps_of

REWARDS = [0.3, -1.1, 0.8, 0.1]
Groups = tuple[tuple[int, ...], ...]


def loglik(order: Order, rewards: list[float], log_nu: float = -0.7) -> float:
    at = torch.tensor([rewards], dtype=torch.float64)
    return float(ranked(at, steps_of([order]), torch.tensor(log_nu, dtype=torch.float64))[0])


def weak_orders(places: tuple[int, ...]) -> Iterator[Groups]:
    """Every order of them, ties included."""
    if not places:
        yield ()
    for size in range(1, len(places) + 1):
        for first in combinations(places, size):
            for rest in weak_orders(tuple(place for place in places if place not in first)):
                yield (first, *rest)


def chance(groups: Groups, rewards: list[float], nu: float) -> float:
    """Of a whole order: choices in turn, each written out."""
    left, found = {place for group in groups for place in group}, 1.0
    for group in groups:
        offers = [part for size in range(1, len(left) + 1) for part in combinations(sorted(left), size)]
        worth = {part: nu ** (len(part) - 1) * math.exp(sum(rewards[place] for place in part) / len(part)) for part in offers}
        found *= worth[tuple(sorted(group))] / sum(worth.values())
        left -= set(group)
    return found


def agrees(groups: Groups, order: Order) -> bool:
    """Whether a whole order says all that a partial one says."""
    place = {one: number for number, group in enumerate(groups) for one in group}
    equal = all(place[one] == place[other] for group in (*order.order, order.last) for one in group for other in group)
    return equal and all(place[better] < place[worse] for better, worse in order.pairs())


PARTIAL = [
    Order(4, ((2,), (0,), (3,), (1,))),
    Order(4, ((2, 0), (3,), (1,))),
    Order(4, ((2,),)),
    Order(4, ((2,), (0, 3))),
    Order(4, ((2,),), (1,)),
    Order(4, (), (1,)),
    Order(4, (), (1, 3)),
    Order(4, ((0, 1, 2, 3),)),
    Order(3, ((1,),), (2,)),
]


@pytest.mark.parametrize("order", PARTIAL)
def test_an_order_has_the_sum_of_all_that_agree_with_it(order: Order) -> None:
    rewards = REWARDS[: order.size]
    every = [groups for groups in weak_orders(tuple(range(order.size))) if agrees(groups, order)]
    total = sum(chance(groups, rewards, math.exp(-0.7)) for groups in every)
    assert loglik(order, rewards) == pytest.approx(math.log(total), abs=1e-12)


def test_all_orders_of_four_add_up_to_one() -> None:
    assert sum(math.exp(loglik(Order(4, groups), REWARDS)) for groups in weak_orders((0, 1, 2, 3))) == pytest.approx(1.0)


def test_without_ties_it_is_plackett_luce_and_best_and_worst_the_sum_over_permutations() -> None:
    def plackett(order: tuple[int, ...]) -> float:
        worths = [math.exp(REWARDS[place]) for place in order]
        return math.prod(worth / sum(worths[at:]) for at, worth in enumerate(worths))

    for order in permutations(range(4)):
        whole = Order(4, tuple((place,) for place in order))
        assert loglik(whole, REWARDS, -60.0) == pytest.approx(math.log(plackett(order)), abs=1e-9)
    extremes = sum(plackett(order) for order in permutations(range(4)) if order[0] == 2 and order[-1] == 1)
    assert loglik(Order(4, ((2,),), (1,)), REWARDS, -60.0) == pytest.approx(math.log(extremes), abs=1e-9)


@pytest.mark.parametrize(("order", "choice"), [(((0,), (1,)), 0), (((0, 1),), 1), (((1,), (0,)), 2)])
def test_of_two_answers_it_is_davidsons_comparison(order: Groups, choice: int) -> None:
    nu = torch.tensor(-0.7, dtype=torch.float64)
    said = likelihoods.davidson(torch.tensor([0.9], dtype=torch.float64), nu)[0, choice]
    assert loglik(Order(2, order), [0.6, -0.3]) == pytest.approx(float(said), abs=1e-14)
    steps, at = steps_of([Order(2, order)]), torch.tensor([[0.6, -0.3]], dtype=torch.float64)
    delta = torch.tensor([0.9], dtype=torch.float64)
    bend = likelihoods.comparison_information(delta, nu, torch.ones(1, dtype=torch.float64))
    assert float(curvature(at, steps, nu)[0, 0, 1]) == pytest.approx(float(bend), abs=1e-12)


def test_a_hand_counted_order() -> None:
    """Three equal answers, ties as likely as choices: seven sets of worth 1; then three."""
    assert loglik(Order(3, ((0,), (1,), (2,))), [0.0] * 3, 0.0) == pytest.approx(math.log(1 / 7 * 1 / 3))


@pytest.mark.parametrize("order", PARTIAL)
def test_slopes_and_curvature_are_the_likelihoods_own(order: Order) -> None:
    steps, nu = steps_of([order]), torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    at = torch.tensor([REWARDS[: order.size]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, n: ranked(x, steps, n), (at, nu))
    weights = curvature(at, steps, nu.detach())[0]
    held = nu.detach()
    hessian = torch.autograd.functional.hessian(lambda x: ranked(x[None], steps, held)[0], at[0].detach())  # type: ignore[no-untyped-call]
    built = torch.zeros_like(hessian)
    for one, other in combinations(range(order.size), 2):
        apart = torch.zeros(order.size, dtype=torch.float64)
        apart[one], apart[other] = 1, -1
        built += weights[one, other] * torch.outer(apart, apart)
    torch.testing.assert_close(built, -hessian, atol=1e-10, rtol=0)


def test_many_rankings_are_told_apart() -> None:
    orders = [order for order in PARTIAL if order.size == 4]
    at = torch.tensor([REWARDS] * len(orders), dtype=torch.float64)
    found = ranked(at, steps_of(orders), torch.tensor(-0.7, dtype=torch.float64))
    assert found.tolist() == pytest.approx([loglik(order, REWARDS) for order in orders])
