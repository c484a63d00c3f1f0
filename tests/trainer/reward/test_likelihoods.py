"""Likelihoods of verdicts, against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from trainer.reward import likelihoods
from trainer.reward.likelihoods import LEFT, RIGHT, TIE

F64 = torch.float64


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def test_davidson_of_a_half_with_nu_one() -> None:
    left, tie, right = likelihoods.davidson(tensor(0.5), tensor(0.0)[0]).exp()[0].tolist()

    assert (left, tie, right) == pytest.approx((0.4192, 0.3265, 0.2543), abs=5e-5)


def test_nu_is_how_many_times_a_tie_is_as_likely_as_either_of_two_equals() -> None:
    assert likelihoods.davidson(tensor(0.0), tensor(2.0).log()[0]).exp()[0].tolist() == pytest.approx((0.25, 0.5, 0.25))


def test_without_ties_davidson_is_bradley_terry() -> None:
    delta = tensor(-2.0, 0.3, 1.7)

    chance = likelihoods.davidson(delta, tensor(-60.0)[0]).exp()

    torch.testing.assert_close(chance[:, LEFT], torch.sigmoid(delta))
    torch.testing.assert_close(chance[:, RIGHT], torch.sigmoid(-delta))


def test_exchanging_the_sides_exchanges_the_verdicts() -> None:
    delta, log_nu = tensor(1.3, 1.3, 1.3), tensor(-0.4)[0]

    one = likelihoods.comparison(delta, torch.tensor([LEFT, TIE, RIGHT]), log_nu)
    other = likelihoods.comparison(-delta, torch.tensor([RIGHT, TIE, LEFT]), log_nu)

    torch.testing.assert_close(one, other)


def test_an_unreliable_judge_says_less() -> None:
    delta, verdict, log_nu = tensor(2.0), torch.tensor([LEFT]), tensor(-60.0)[0]

    mixed = likelihoods.comparison(delta, verdict, log_nu, reliability=tensor(0.8)).exp()

    p = 1 / (1 + math.exp(-2.0))
    assert float(mixed) == pytest.approx(0.8 * p + 0.2 * (1 - p))


def test_calling_a_pair_bad_is_likelier_the_lower_its_mean() -> None:
    said = likelihoods.level(tensor(-1.0, 1.0), torch.tensor([True, True]), tensor(0.5)[0]).exp()
    unsaid = likelihoods.level(tensor(-1.0, 1.0), torch.tensor([False, False]), tensor(0.5)[0]).exp()

    assert said.tolist() == pytest.approx([1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(0.5))])
    torch.testing.assert_close(said + unsaid, tensor(1.0, 1.0))


def test_a_rating_by_hand() -> None:
    # P(R <= 3) = sigmoid((0.5 - 0.2 - 2 * 0.4) / 0.5) = sigmoid(-1); P(R <= 2) = sigmoid((-1 - 0.2 - 0.8) / 0.5) = sigmoid(-4)
    found = likelihoods.rating(
        tensor(0.4), torch.tensor([3]), tensor(-2.0, -1.0, 0.5, 2.0), tensor(2.0)[0], tensor(0.2), tensor(0.5)
    )

    assert float(found.exp()) == pytest.approx(1 / (1 + math.e) - 1 / (1 + math.exp(4)), rel=1e-9)


def test_ratings_from_one_to_five_add_up_to_one_even_far_out() -> None:
    for reward in (-30.0, -1.0, 0.0, 2.5, 30.0):
        everything = likelihoods.rating(
            tensor(*[reward] * 5),
            torch.arange(1, 6),
            tensor(-2.0, -1.0, 0.5, 2.0),
            tensor(1.0)[0],
            tensor(*[0.3] * 5),
            tensor(*[0.7] * 5),
        )
        assert bool(torch.isfinite(everything).all())
        assert float(everything.exp().sum()) == pytest.approx(1.0)


def test_a_lenient_judge_rates_higher() -> None:
    def expected(leniency: float) -> float:
        chances = likelihoods.rating(
            tensor(*[0.0] * 5),
            torch.arange(1, 6),
            tensor(-2.0, -1.0, 0.5, 2.0),
            tensor(1.0)[0],
            tensor(*[leniency] * 5),
            tensor(*[1.0] * 5),
        ).exp()
        return float((chances * torch.arange(1, 6)).sum())

    assert expected(1.0) > expected(0.0) > expected(-1.0)


def test_every_likelihood_is_concave_in_the_reward_and_its_gradient_is_right() -> None:
    verdict, score = torch.tensor([LEFT, TIE, RIGHT]), torch.tensor([1, 3, 5])
    cuts, one, bad = tensor(-2.0, -1.0, 0.5, 2.0), tensor(1.0)[0], torch.tensor([True, False, True])
    functions: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
        lambda u: likelihoods.comparison(u, verdict, -one),
        lambda u: likelihoods.level(u, bad, one),
        lambda u: likelihoods.rating(u, score, cuts, one, tensor(0.1, -0.2, 0.0), tensor(0.5, 1.0, 2.0)),
    )
    for function in functions:
        u = tensor(-1.5, 0.2, 2.0).requires_grad_()
        assert torch.autograd.gradcheck(function, (u,))
        (slope,) = torch.autograd.grad(function(u).sum(), u, create_graph=True)
        (curve,) = torch.autograd.grad(slope.sum(), u)
        assert bool((curve < 0).all())


def test_free_numbers_become_ascending_cutpoints() -> None:
    cuts = likelihoods.ordered(tensor(-1.0, 0.0, -5.0, 1.0))

    assert cuts.tolist() == pytest.approx([-1.0, 0.0, math.exp(-5), math.exp(-5) + math.e])


def test_strength_weighs() -> None:
    assert [likelihoods.strength_weight(strength) for strength in (1, None, 2, 3)] == [0.5, 1.0, 1.0, 1.5]


def test_the_judge_who_mixes_up_the_sides_is_found() -> None:
    draw = torch.Generator().manual_seed(0)
    delta = 2 * torch.randn(200, generator=draw, dtype=F64)
    honest = torch.where(torch.rand(200, generator=draw, dtype=F64) < torch.sigmoid(delta), LEFT, RIGHT)

    def reliability(verdict: torch.Tensor) -> float:
        nu = tensor(-60.0)[0]
        return likelihoods.reliability_of(likelihoods.comparison(delta, verdict, nu), likelihoods.comparison(-delta, verdict, nu))

    assert reliability(honest) > 0.9
    assert reliability(RIGHT - honest) < 0.25


def test_the_information_of_a_comparison_is_the_curvature_that_is_expected() -> None:
    log_nu = tensor(-0.7)[0]
    for eta in (1 - 1e-12, 0.9, 0.5, 0.2):
        for value in (-2.0, 0.0, 0.7):
            expected = 0.0
            for verdict in (LEFT, TIE, RIGHT):
                delta = tensor(value).requires_grad_()
                said = likelihoods.comparison(delta, torch.tensor([verdict]), log_nu, tensor(eta))
                (slope,) = torch.autograd.grad(said.sum(), delta, create_graph=True)
                (curve,) = torch.autograd.grad(slope.sum(), delta)
                expected -= float(said.detach().exp() * curve)

            found = likelihoods.comparison_information(tensor(value), log_nu, tensor(eta))

            assert float(found) == pytest.approx(expected, abs=1e-9)


def test_a_judge_who_throws_a_coin_between_two_sides_tells_nothing() -> None:
    assert float(likelihoods.comparison_information(tensor(1.0), tensor(-60.0)[0], tensor(0.5))) == pytest.approx(0, abs=1e-12)


def test_the_prior_of_reliability_peaks_where_it_says() -> None:
    grid = torch.linspace(0.01, 0.99, 99, dtype=F64)

    densest = grid[torch.stack([likelihoods.reliability_prior(eta[None]) for eta in grid]).argmax()]

    assert float(densest) == pytest.approx(likelihoods.RELIABILITY_MODE, abs=0.01)


def test_what_checks_say_of_a_judge_by_hand() -> None:
    """Clarity .64: a sure judge says the same again with chance .82, and what is right with .9; a coin .5 of either."""
    asked = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]], dtype=F64)
    clarity = torch.tensor([0.64], dtype=F64)
    for eta, again, known in ((1.0, 0.82, 0.9), (0.5, 0.5, 0.5), (0.0, 0.82, 0.1)):
        found = likelihoods.checks(torch.full((4,), eta, dtype=F64), clarity, asked).exp().tolist()
        assert found == pytest.approx([again, 1 - again, known, 1 - known])
