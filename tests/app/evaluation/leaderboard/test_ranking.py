"""The ranking: numbers by hand, the maximum of the likelihood, what is too little, and what is left without length."""

from __future__ import annotations

import math
import random
import time

import numpy as np
import pytest

from app.evaluation.leaderboard.ranking import Met, Standing, rank

BASE = 1


def by_contender(found: list[Standing]) -> dict[int, Standing]:
    return {one.contender: one for one in found}


def test_two_contenders_by_hand() -> None:
    """60 wins, 20 ties, 20 losses and the made-up tie: 70.5 of 101, whose log-odds deviate by 1 / sqrt(101 p (1 - p))."""
    first, base = rank([Met(2, BASE, 0, 60, 20, 20)], [2, BASE], BASE)
    rate = 70.5 / 101
    assert (first.contender, first.verdicts, first.enough) == (2, 100, True)
    assert first.rate == pytest.approx(rate, abs=1e-4)
    odds, deviation = math.log(rate / (1 - rate)), 1 / math.sqrt(101 * rate * (1 - rate))
    assert first.lower == pytest.approx(1 / (1 + math.exp(-odds + 1.959964 * deviation)), abs=1e-4)
    assert first.upper == pytest.approx(1 / (1 + math.exp(-odds - 1.959964 * deviation)), abs=1e-4)
    assert (base.contender, base.rate, base.lower, base.upper) == (BASE, 0.5, 0.5, 0.5)


def test_it_is_the_maximum_of_the_likelihood() -> None:
    """At it, what each contender won is what it was expected to."""
    draw = random.Random(2)
    met = [
        Met(first, second, 0, draw.randint(0, 40), draw.randint(0, 9), draw.randint(0, 40))
        for first in range(1, 9)
        for second in range(first + 1, 9)
    ]
    rates = {one.contender: one.rate for one in rank(met, range(1, 9), BASE)}
    strength = {one: math.log(rate / (1 - rate)) for one, rate in rates.items()}
    for contender in range(2, 9):
        won = expected = 0.5  # the made-up tie
        expected = rates[contender]
        for one in met:
            if contender in (one.first, one.second):
                mine, other = (one.first, one.second) if contender == one.first else (one.second, one.first)
                won += (one.wins if mine == one.first else one.losses) + one.ties / 2
                expected += one.verdicts / (1 + math.exp(strength[other] - strength[mine]))
        assert won == pytest.approx(expected, abs=1e-3)


def test_an_interval_has_the_truth_nineteen_times_of_twenty() -> None:
    draw = np.random.default_rng(3)
    true = {1: 0.0, 2: 0.4, 3: -0.3, 4: 0.8}
    had = []
    for _ in range(200):
        met = []
        for first, second in ((2, 1), (3, 1), (4, 2), (4, 3), (2, 3)):
            wins = int(draw.binomial(60, 1 / (1 + math.exp(true[second] - true[first]))))
            met.append(Met(first, second, 0, wins, 0, 60 - wins))
        for one in rank(met, true, BASE):
            if one.contender != BASE:
                had.append(one.lower <= 1 / (1 + math.exp(-true[one.contender])) <= one.upper)
    assert 0.92 < sum(had) / len(had) < 0.98


def test_who_never_lost_has_a_place_and_a_wide_interval() -> None:
    winner = by_contender(rank([Met(2, BASE, 0, 40, 0, 0)], [2, BASE], BASE))[2]
    assert 0.9 < winner.rate < 1
    assert winner.lower < 0.95


def test_too_few_is_said_where_it_is_so() -> None:
    met = [Met(2, BASE, 0, 29, 0, 0), Met(3, BASE, 0, 5, 20, 5), Met(4, 5, 0, 50, 0, 50)]
    found = rank(met, [BASE, 2, 3, 4, 5, 6], BASE)
    assert {one.contender: one.enough for one in found} == {1: True, 2: False, 3: True, 4: False, 5: False, 6: False}
    assert [one.contender for one in found[:2]] == [BASE, 3]
    assert by_contender(found)[6].verdicts == 0


def test_the_base_alone_is_a_leaderboard() -> None:
    assert rank([], [BASE], BASE) == [Standing(BASE, 0, 0.5, 0.5, 0.5, True)]


def test_swapped_pairs_say_the_same() -> None:
    one = rank([Met(2, BASE, 1, 50, 10, 20), Met(2, BASE, -1, 10, 5, 30)], [2, BASE], BASE, without_length=True)
    other = rank([Met(BASE, 2, -1, 20, 10, 50), Met(BASE, 2, 1, 30, 5, 10)], [2, BASE], BASE, without_length=True)
    assert by_contender(one)[2].rate == pytest.approx(by_contender(other)[2].rate, abs=1e-6)


def test_what_is_won_by_length_alone_is_nothing_without_it() -> None:
    """It wins 80 % where it is longer, which is mostly, and 20 % where it is shorter."""
    met = [Met(2, BASE, 1, 160, 0, 40), Met(2, BASE, -1, 10, 0, 40)]
    assert by_contender(rank(met, [2, BASE], BASE))[2].rate > 0.65
    without = by_contender(rank(met, [2, BASE], BASE, without_length=True))[2]
    assert without.rate == pytest.approx(0.5, abs=1e-4)
    tells = 250**2 / (200 * 0.625**2 + 50 * 2.5**2) + 1  # the 50 where it was shorter count as much as the 200, and say less
    assert without.upper == pytest.approx(1 / (1 + math.exp(-1.959964 / math.sqrt(tells / 4))), abs=1e-4)


def test_who_was_always_longer_has_nothing_to_show_without_length() -> None:
    met = [Met(2, BASE, 1, 160, 0, 40)]
    assert not by_contender(rank(met, [2, BASE], BASE, without_length=True))[2].enough
    alike = [*met, Met(2, BASE, 0, 30, 0, 10)]
    assert by_contender(rank(alike, [2, BASE], BASE, without_length=True))[2].verdicts == 40


def test_twenty_contenders_are_ranked_at_once() -> None:
    draw = random.Random(4)
    met = [
        Met(first, second, longer, draw.randint(0, 3000), draw.randint(0, 900), draw.randint(0, 3000))
        for first in range(1, 21)
        for second in range(first + 1, 21)
        for longer in (-1, 0, 1)
    ]
    rank(met[:3], [1, 2], BASE)  # what is loaded once
    begun = time.process_time()
    assert len(rank(met, range(1, 21), BASE, without_length=True)) == 20
    assert time.process_time() - begun < 0.5
