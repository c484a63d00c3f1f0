"""Who decides by what, of crowds in which it was planted."""

from __future__ import annotations

import numpy as np
import pytest

from app.quality.noise.kinds import BEFORE, KINDS, LATEST, Checks, latest, probabilities, side_habit
from bench.noise import KINDS_OF_PEOPLE, crowd, found_in

NOBODY = Checks(*np.zeros((4, 1)))


def test_before_anything_was_said_it_is_as_probable_as_it_is_of_people() -> None:
    nothing = np.zeros(0, np.int64)
    assert probabilities(nothing, nothing, np.zeros(0), np.zeros(0, bool), NOBODY).tolist() == [list(BEFORE)]


@pytest.mark.parametrize(("right", "kind"), [(10, "shared"), (0, "opposite"), (5, "chance")])
def test_known_answers_alone_say_it_too(right: int, kind: str) -> None:
    alone = (np.array([0]), np.array([0]), np.array([1.0]), np.array([True]))  # of a question that nobody else answered
    found = probabilities(*alone, Checks(*(np.array([float(n)]) for n in (10, right, 0, 0))))
    assert KINDS[int(found[0].argmax())] == kind


def test_the_latest_verdicts_of_each_are_looked_at_in_their_order() -> None:
    people = np.array([0] * (LATEST + 3) + [1] * 2 + [0])
    assert latest(people, 2).tolist() == list(range(4, LATEST + 6))


def test_of_a_crowd_those_who_say_the_opposite_are_found_and_the_minority_is_a_taste() -> None:
    """By a hundred labels each, seven to a question; over five crowds."""
    kinds = [
        (kind, found) for seed in range(5) for kind, found in zip(KINDS_OF_PEOPLE, found_in(crowd(seed, 100, 7)), strict=True)
    ]

    def share(of: str, *found: str) -> float:
        mine = [one for kind, one in kinds if kind == of]
        return sum(one in found for one in mine) / len(mine)

    assert share("opposite", "opposite") >= 0.9
    assert share("random", "chance", "opposite") >= 0.8
    assert share("careful", "chance", "opposite") == 0.0
    assert share("minority", "taste") >= 0.7
    assert share("minority", "chance", "opposite") <= 0.04


def test_a_habit_of_sides_is_what_chance_does_not_make() -> None:
    assert side_habit(np.zeros(0, bool)) == 0.0
    assert side_habit(np.arange(100) % 2 == 0) == 0.0
    assert side_habit(np.arange(100) < 54) == 0.0  # within a standard error of a half
    assert side_habit(np.arange(100) < 80) == pytest.approx(0.5)
    assert side_habit(np.arange(100) < 20) == pytest.approx(-0.5)


def test_who_mostly_takes_the_left_is_not_taken_for_one_who_guesses() -> None:
    """Two choices in five are by the answer; fourteen to a question, sixty labels each, over forty crowds."""
    crowds = [crowd(seed, 60, 14) for seed in range(40)]
    one = KINDS_OF_PEOPLE.index("side")
    found = [probabilities(made.items, made.people, made.signs, made.left, made.checks)[one] for made in crowds]
    assert sum(KINDS[int(kind.argmax())] == "chance" for kind in found) <= 4  # 12 where sides are not looked at
