"""Rules that pick the pairs people are asked about next, against brute force and against a fit in the space of weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.reward.data import Comparison
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.next_pairs import RULES, Candidates, candidates, d_optimal, delta_ucb, told_by, uncertainty, uniform

DRAW = torch.Generator().manual_seed(0)


def planted(pairs: int = 9, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Differences (N, D), the precision of the weights (D, D), and what each verdict informs (N,)."""
    draw = torch.Generator().manual_seed(3)
    z = torch.randn(pairs, width, generator=draw, dtype=torch.float64)
    root = torch.randn(width, width, generator=draw, dtype=torch.float64)
    return (
        z,
        torch.eye(width, dtype=torch.float64) + root @ root.T,
        0.05 + 0.2 * torch.rand(pairs, generator=draw, dtype=torch.float64),
    )


def seen_as(z: Tensor, precision: Tensor, information: Tensor) -> Candidates:
    return Candidates(torch.zeros(len(z), dtype=torch.float64), z @ torch.linalg.inv(precision) @ z.T, information)


def test_each_pick_of_the_greedy_design_gains_most_of_the_log_determinant() -> None:
    z, precision, information = planted()
    picked = d_optimal(seen_as(z, precision, information), 5, DRAW)

    grown = precision
    for step, pick in enumerate(picked):
        dets = [
            float(torch.logdet(grown + information[one] * torch.outer(z[one], z[one]))) if one not in picked[:step] else -math.inf
            for one in range(len(z))
        ]
        assert pick == max(range(len(z)), key=dets.__getitem__)
        grown = grown + information[pick] * torch.outer(z[pick], z[pick])
    assert len(set(picked)) == 5


def test_an_update_of_rank_one_is_a_fresh_inverse() -> None:
    z, precision, information = planted()
    covariance = z @ torch.linalg.inv(precision) @ z.T
    for one in (4, 0, 7):
        covariance = told_by(covariance, one, float(information[one]))
        precision = precision + information[one] * torch.outer(z[one], z[one])

    torch.testing.assert_close(covariance, z @ torch.linalg.inv(precision) @ z.T, rtol=1e-10, atol=1e-12)


def test_two_pairs_that_say_the_same_are_not_both_asked_while_there_is_another() -> None:
    z = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    pairs = seen_as(z, torch.eye(2, dtype=torch.float64), torch.full((3,), 0.25, dtype=torch.float64))

    # log(1 + .25 * 4) is the first pick's gain; its twin is then worth log(1 + .25 * 2) = .405, the other log(1.25) = .223
    assert d_optimal(pairs, 1, DRAW) == [0]
    told = told_by(pairs.covariance, 0, 0.25)
    assert told[1, 1] == pytest.approx(2.0)
    assert told[2, 2] == pytest.approx(1.0)
    sharper = Candidates(pairs.gap, pairs.covariance, torch.tensor([2.0, 2.0, 0.25], dtype=torch.float64))
    assert d_optimal(sharper, 2, DRAW) == [0, 1]  # 4 / (1 + 8) left, times 2: .889 beats .25
    steep = Candidates(
        pairs.gap, pairs.covariance * torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64), sharper.information * 0 + 2
    )
    assert d_optimal(steep, 2, DRAW) == [0, 2]


def test_uncertainty_asks_where_the_gap_is_smallest_and_optimism_where_it_may_be_largest() -> None:
    gap = torch.tensor([0.1, -2.0, 1.9, -0.2], dtype=torch.float64)
    pairs = Candidates(gap, torch.diag(torch.tensor([9.0, 0.04, 1.0, 0.01], dtype=torch.float64)), torch.full_like(gap, 0.25))

    assert uncertainty(pairs, 2, DRAW) == [0, 3]
    assert delta_ucb(pairs, 4, DRAW) == [0, 2, 1, 3]  # 3.1, 2.9, 2.2, .3


def test_uniform_draws_differ_by_their_generator_alone() -> None:
    pairs = seen_as(*planted())
    first, again, other = (uniform(pairs, 6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_asks_a_pair_twice_or_more_than_there_are(rule: str) -> None:
    assert sorted(RULES[rule](seen_as(*planted()), 20, DRAW)) == list(range(9))


@pytest.mark.parametrize("labels", [3, 40])  # fewer than columns, and more: the posterior's two forms
@pytest.mark.parametrize("taste", [False, True])
def test_candidates_are_the_posterior_of_a_fitted_head(labels: int, taste: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    features = {"one": torch.randn(80, 12, generator=draw), "two": torch.randn(80, 9, generator=draw)}
    said = [
        Comparison(2 * one, 2 * one + 1, ("left", "right")[one % 3 == 0], None, f"person {one % 2}", str(one))
        for one in range(labels)
    ]
    head = fit(features, said, [], HeadSettings(taste=taste))
    left, right = torch.tensor([0, 5, 70]), torch.tensor([1, 9, 3])
    pairs = candidates(head, features, left, right)

    rewards = head.reward(features)
    torch.testing.assert_close(pairs.gap, rewards[left] - rewards[right])
    torch.testing.assert_close(pairs.covariance, pairs.covariance.T)
    # `deviation` measures from the average labelled answer, whose standardised features are 0: put it on the right side
    middle = {
        name: torch.cat([values, head.groups[name].centre[None]]) for name, values in features.items() if name in head.groups
    }
    against = candidates(head, middle, left, torch.full_like(left, 80))
    torch.testing.assert_close(against.covariance.diagonal().sqrt(), head.deviation(features)[left], rtol=1e-5, atol=1e-5)
    chance = torch.sigmoid(pairs.gap)
    if head.log_nu < -20:
        torch.testing.assert_close(pairs.information, chance * (1 - chance))
