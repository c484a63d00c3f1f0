"""Confidence sequences by betting: numbers by hand, a published implementation, what must not change them, and their errors."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import ville
from hypothesis import given, settings
from hypothesis import strategies as st

from app.evaluation.sequence import BETS, SHARES, Bets, Capital, ControlVariate, Value, bets, intervals, mirrored

VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


def coins(seed: int, rate: float, count: int) -> list[float]:
    draw = random.Random(seed)
    return [float(draw.random() < rate) for _ in range(count)]


# By hand


def test_a_win_a_loss_and_a_tie_by_hand() -> None:
    """Bets of .25, .5, 1 and, cut to 95 % of what a loss can cost, 1.9, with .35, .35, .15 and .15 of the capital."""
    capital = Capital(0.5)
    won = 0.35 * 1.125 + 0.35 * 1.25 + 0.15 * 1.5 + 0.15 * 1.95
    lost = 0.35 * 1.125 * 0.875 + 0.35 * 1.25 * 0.75 + 0.15 * 1.5 * 0.5 + 0.15 * 1.95 * 0.05
    assert capital.bet(Value(1.0)) == pytest.approx(won, rel=1e-15) == pytest.approx(1.34875)
    assert capital.bet(Value(0.0)) == pytest.approx(lost, rel=1e-15)
    assert capital.bet(Value(0.5)) == pytest.approx(lost, rel=1e-15)


def test_a_value_that_reaches_further_is_bet_on_more_carefully() -> None:
    """With a reach of 1 the most is .95 / 1.5, so that -1, the least there can be, leaves 5 %."""
    capital = Capital(0.5)
    capital.bet(Value(-1.0, reach=1.0))
    most = 0.95 / 1.5
    assert capital.now == pytest.approx(0.35 * (1 - 0.25 * 1.5) + 0.35 * (1 - 0.5 * 1.5) + 0.3 * (1 - most * 1.5))


def test_the_first_unit_that_excludes_a_half_is_the_seventh_win() -> None:
    """.35 1.125^n + .35 1.25^n + .15 1.5^n + .15 1.95^n passes 20 first at n = 7 for wins alone."""
    by_hand = [.35 * 1.125**n + .35 * 1.25**n + .15 * 1.5**n + .15 * 1.95**n for n in range(1, 12)]  # fmt: skip
    when = next(n for n, now in enumerate(by_hand, 1) if now >= 20)
    ends = intervals(bets([1.0] * 11), 0.05)
    assert when == 7
    assert [lower >= 0.5 for lower, _ in ends] == [n >= when for n in range(1, 12)]
    assert all(upper == 1.0 for _, upper in ends)


# As published


def published(values: Sequence[float], mean: float) -> Any:
    """Capital after each value by `ville`'s BettingTest, one for each size of bets, merged by its weighted mean of e-values.

    Its own sizes shrink with time and are cut to c / mean. An error as small as this makes them so large that c alone decides.
    """
    fixed = [
        ville.BettingTest(mean, alternative="greater", alpha=1e-300, c=min(bet * mean, 0.95)).fit(values).e_values_
        for bet in BETS
    ]
    return ville.evalues.combine(np.stack(fixed, axis=1), weights=SHARES)


@pytest.mark.parametrize("mean", [0.3, 0.5, 0.55, 0.8])
def test_capital_is_what_a_published_implementation_has(mean: float) -> None:
    draw = random.Random(3)
    values = [draw.choice([0.0, 0.5, 1.0, 3 / 11]) for _ in range(120)]
    ours = bets(values).capital(mean)
    np.testing.assert_allclose(np.array(ours), published(values, mean), rtol=1e-9)


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.62, 0.97])
def test_the_interval_is_what_the_published_implementation_excludes(rate: float) -> None:
    values = coins(5, rate, 200)
    means = np.arange(1, 1000) / 1000
    with np.errstate(over="ignore"):
        up = np.array([max(published(values, mean)) >= 20 for mean in means])
        down = np.array([max(published([1 - value for value in values], 1 - mean)) >= 20 for mean in means])
    lower, upper = intervals(bets(values), 0.05)[-1]
    assert lower == max(means[up], default=0.0)
    assert upper == min(means[down], default=1.0)


def test_predictions_are_taken_out_as_the_papers_say() -> None:
    """Coded anew: rho is the slope of values, less their mean so far, on p - q; the value is x - rho (p - q)."""
    draw = random.Random(11)
    control = ControlVariate()
    values = [draw.choice([0.0, 0.5, 1.0]) for _ in range(40)]
    differences = [draw.uniform(-0.6, 0.6) for _ in values]
    for now in range(len(values)):
        products = sum((values[past] - (0.5 + sum(values[:past])) / (past + 1)) * differences[past] for past in range(now))
        rho = max(-1.0, min(1.0, products / (1.0 + sum(past**2 for past in differences[:now]))))
        adjusted = control.adjusted(values[now], differences[now])
        assert adjusted.value == pytest.approx(values[now] - rho * differences[now], abs=1e-12)
        assert adjusted.reach == pytest.approx(abs(rho), abs=1e-12)


def test_the_slope_is_cut_at_one() -> None:
    """Predictions that say too little of what they know would be stretched by more, and reach further than verdicts do."""
    control = ControlVariate()
    reaches = [control.adjusted(value, value * 0.4 - 0.2).reach for value in [1.0, 0.0] * 60]
    assert max(reaches) == 1.0
    assert reaches[4] < reaches[-1]


def test_capital_with_predictions_is_a_quarter_plain_and_three_quarters_adjusted() -> None:
    values, differences = coins(1, 0.6, 50), [one - 0.5 for one in coins(2, 0.5, 50)]
    both = bets(values, differences)
    assert both.adjusted is not None
    plain, adjusted = bets(values).capital(0.5), Bets(both.adjusted).capital(0.5)
    assert both.capital(0.5) == pytest.approx([0.25 * one + 0.75 * other for one, other in zip(plain, adjusted, strict=True)])


# What must not change it


@given(VALUES, st.randoms(use_true_random=False), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_what_is_won_does_not_depend_on_the_order(values: list[float], draw: random.Random, mean: float) -> None:
    shuffled = list(values)
    draw.shuffle(shuffled)
    assert bets(shuffled).capital(mean)[-1] == pytest.approx(bets(values).capital(mean)[-1], rel=1e-9)


@given(VALUES, st.data())
@settings(max_examples=60, deadline=None)
def test_more_evidence_never_wins_less_and_a_lower_mean_is_never_more_likely(values: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    better = [*values[:place], 1.0, *values[place + 1 :]]
    assert bets(better).capital(0.5)[-1] >= bets(values).capital(0.5)[-1]
    assert bets(values).capital(0.4)[-1] >= bets(values).capital(0.5)[-1]
    before, after = intervals(bets(values), 0.05)[-1], intervals(bets(better), 0.05)[-1]
    assert after[0] >= before[0]


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_the_interval_of_the_other_side_is_its_mirror_image(values: list[float]) -> None:
    swapped = intervals(bets([1.0 - value for value in values]), 0.05)
    expected = [(1.0 - upper, 1.0 - lower) for lower, upper in intervals(bets(values), 0.05)]
    np.testing.assert_allclose(swapped, expected, atol=1e-12)


@given(VALUES, st.data())
@settings(max_examples=60, deadline=None)
def test_an_adjusted_value_can_cost_no_more_than_is_there(values: list[float], data: st.DataObject) -> None:
    differences = data.draw(st.lists(st.floats(-1, 1), min_size=len(values), max_size=len(values)))
    control = ControlVariate()
    for value, difference in zip(values, differences, strict=True):
        adjusted = control.adjusted(value, difference)
        assert -adjusted.reach - 1e-9 <= adjusted.value <= 1 + adjusted.reach + 1e-9
        for mean in (0.001, 0.5, 0.999):
            assert Capital(mean).bet(adjusted) > 0
            assert Capital(mean).bet(mirrored(adjusted)) > 0


def test_an_interval_only_draws_nearer_and_holds_something() -> None:
    ends = intervals(bets(coins(9, 0.5, 150) + [1.0] * 150 + [0.0] * 300), 0.4)
    assert all(lower < upper for lower, upper in ends)
    assert [lower for lower, _ in ends] == sorted(lower for lower, _ in ends)
    assert [upper for _, upper in ends] == sorted((upper for _, upper in ends), reverse=True)


# Its errors


def test_the_truth_is_missed_at_some_look_by_each_end_no_more_often_than_promised() -> None:
    """2,000 sequences of 300 looks at once; .1 allowed for each end. An interval for one look misses far more often."""
    draw = np.random.default_rng(0)
    for rate in (0.5, 0.65):
        values = (draw.random((2000, 300)) < rate).astype(float)
        plain = Bets([Value(column) for column in values.T])
        for evidence, mean in ((plain, rate), (plain.mirrored(), 1.0 - rate)):
            missed = np.max(np.array(evidence.capital(mean)), axis=0) >= 10
            assert 0.02 < missed.mean() < 0.1 + 3 * math.sqrt(0.09 / 2000)


def test_predictions_that_turn_against_their_verdicts_do_not_raise_the_error() -> None:
    """They foretell truly for 60 units and the opposite after: the worst for a slope that is learned."""
    draw = np.random.default_rng(1)
    chance = np.clip(0.5 + 0.3 * draw.normal(size=(2000, 300)), 0, 1)
    values = (draw.random((2000, 300)) < chance).astype(float)
    told = np.where(np.arange(300) < 60, chance, 1.0 - chance)
    others = np.clip(0.5 + 0.3 * draw.normal(size=(2000, 300)), 0, 1)
    control = ControlVariate()
    adjusted = [control.adjusted(value, one) for value, one in zip(values.T, (told - others).T, strict=True)]
    evidence = Bets([Value(column) for column in values.T], adjusted)
    missed = np.max(np.array(evidence.capital(0.5)), axis=0) >= 10
    assert missed.mean() < 0.1 + 3 * math.sqrt(0.09 / 2000)


def test_good_predictions_find_out_sooner() -> None:
    draw = np.random.default_rng(2)
    chance = np.clip(0.6 + 0.35 * draw.normal(size=(500, 300)), 0, 1)
    values = (draw.random((500, 300)) < chance).astype(float)
    others = np.clip(0.6 + 0.35 * draw.normal(size=(500, 300, 4)), 0, 1).mean(axis=2)
    control = ControlVariate()
    adjusted = [control.adjusted(value, one) for value, one in zip(values.T, (chance - others).T, strict=True)]
    plain = Bets([Value(column) for column in values.T])
    found = [float(np.mean(np.max(np.array(one.capital(0.5)), axis=0) >= 20)) for one in (plain, Bets(plain.plain, adjusted))]
    assert found[1] > found[0] + 0.05
