"""A ranking in exports, by hand: five answers with the ids 50 to 54, shown in that order."""

from __future__ import annotations

from typing import Any

import pytest

from app.exports import rankings

ANSWERS = ["a", "b", "c", "d", "e"]
SHOWN = [50, 51, 52, 53, 54]


def ranking(order: list[list[int]], last: list[int] | None = None, *, all_bad: bool = False) -> dict[str, Any]:
    return {"shown": SHOWN, "order": order, "last": last or [], "all_bad": all_bad}


PARTIAL = ranking([[2], [1, 4]], [3])
WHOLE = ranking([[5], [4], [3], [2, 1]])
EXTREMES = ranking([[1]], [2])
WORST = ranking([], [4])
BAD = ranking([], all_bad=True)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (PARTIAL, "2 > 1 = 4 > ... > 3"),
        (WHOLE, "5 > 4 > 3 > 2 = 1"),
        (EXTREMES, "1 > ... > 2"),
        (WORST, "... > 4"),
        (BAD, "all bad"),
    ],
)
def test_an_order_is_written_with_what_was_left_out(said: dict[str, Any], words: str) -> None:
    assert rankings.in_words(said) == words


def test_each_two_answers_that_are_told_apart_are_a_pair() -> None:
    assert rankings.implied(EXTREMES, ANSWERS) == [
        *(("a", "c"), ("a", "d"), ("a", "e"), ("a", "b")),
        *(("c", "b"), ("d", "b"), ("e", "b")),
    ]
    assert len(rankings.implied(WHOLE, ANSWERS)) == 9
    assert rankings.implied(BAD, ANSWERS) == []


def test_two_people_who_saw_other_orders_say_the_same() -> None:
    one = {"shown": [7, 8, 9], "order": [[2], [1]], "last": [], "all_bad": False}
    other = {"shown": [8, 9, 7], "order": [[1], [3]], "last": [2], "all_bad": False}
    assert rankings.verdict_of(one) == rankings.verdict_of(other) == ((7, 9), (8, 7), (8, 9))
    assert rankings.verdict_of(BAD) == "both_bad"


def test_shares_count_those_who_put_a_pair_so() -> None:
    said = [((7, 9), (8, 7)), ((9, 7),), ((8, 7),), "both_bad"]
    assert rankings.shares(said, 7, 9) == {"n": 4, "chosen": 0.25, "rejected": 0.25, "tie": 0.0, "both_bad": 0.25}
    assert rankings.shares([], 7, 9) == {"n": 0, "chosen": 0.0, "rejected": 0.0, "tie": 0.0, "both_bad": 0.0}


def test_an_answer_has_its_place_and_what_was_ticked_of_it() -> None:
    assert [(at["place"], at["last"]) for at in rankings.places(PARTIAL)] == [
        *((2, False), (1, False), (0, True)),
        *((2, False), (0, False)),
    ]
    assert rankings.flagged(PARTIAL, {"3": ["unsafe", "untrue"]}) == ["", "", "unsafe, untrue", "", ""]


@pytest.mark.parametrize(
    ("said", "desirable", "undesirable"),
    [
        (PARTIAL, "b", "c"),
        (WHOLE, "e", "ab"),
        (ranking([[1], [2]]), "a", ""),  # nobody said which of the others is the worst
        (WORST, "", "d"),  # nor which is the best
        (ranking([[1, 2, 3, 4, 5]]), "", ""),
        (BAD, "", "abcde"),
    ],
)
def test_only_the_ends_that_somebody_named_are_desirable_or_not(said: dict[str, Any], desirable: str, undesirable: str) -> None:
    found = list(rankings.desirability(said, ANSWERS))
    assert "".join(answer for answer, good in found if good) == desirable
    assert "".join(answer for answer, good in found if not good) == undesirable
