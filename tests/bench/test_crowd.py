"""Which limits of a crowd are said to be broken, on figures made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bench.crowd import LEAST_PER_S, Seen, broken, figures

WHOLE = {"labels_in_db": 9, "lost": 0, "doubled": 0, "over_limit": 0, "wrong_seat_counts": 0}


def a_good_crowd() -> Seen:
    return Seen(served_s={"list": [0.1] * 100}, until_served_s={"list": [0.1] * 99 + [7.0]}, refused_s=[0.2])


def told(seen: Seen, database: dict[str, int] = WHOLE) -> list[str]:
    return broken({"50": figures(seen, 1.0)}, database, 1.0)


def test_a_good_crowd_breaks_none_however_often_somebody_came_back() -> None:
    assert told(a_good_crowd()) == []


def test_both_waits_are_told_and_a_refusal_is_an_attempt() -> None:
    seen = a_good_crowd()
    seen.refused_s = [1.5]
    found = figures(seen, 1.0)
    assert (found["attempt"]["longest_s"], found["until_served"]["longest_s"]) == (1.5, 7.0)
    assert (found["attempt"]["p50_ms"], found["until_served"]["p95_ms"]) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"served_s": {"list": [0.1] * 99 + [2.1]}}, "an attempt waited 2.1 s"),
        ({"refused_s": [2.5]}, "an attempt waited 2.5 s"),
        ({"without_retry_after": 1}, "1 refusals without Retry-After"),
        ({"failed": {"page: 500": 1}}, "failed: {'page: 500': 1}"),
        ({"served_s": {"list": [0.1] * int(LEAST_PER_S - 1)}}, "fewer than 40"),
    ],
)
def test_each_limit_says_so(what: dict[str, Any], words: str) -> None:
    seen = a_good_crowd()
    for name, value in what.items():
        setattr(seen, name, value)
    (line,) = told(seen)
    assert words in line


@pytest.mark.parametrize("name", ["lost", "doubled", "over_limit", "wrong_seat_counts"])
def test_what_the_database_says_counts_too(name: str) -> None:
    assert told(a_good_crowd(), {**WHOLE, name: 2}) == [f"2 {name}"]
