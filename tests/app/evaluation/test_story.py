"""Who did better, the candidate or the best of four of the old policy: said only where their intervals say it."""

from __future__ import annotations

import pytest

from app.evaluation.story import Standing, beside
from trainer.contract.messages import Message


def standing(name: str, promotable: bool, low: float, high: float) -> Standing:
    figures = {"verdicts": 100, "mean": (low + high) / 2, "lower": low, "upper": high}
    return Standing(1, 11, Message("written", text=name), promotable, figures, "")


@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [
        ((0.6, 0.8), (0.3, 0.5), "the training did more"),
        ((0.3, 0.5), (0.6, 0.8), "choosing did more than the training"),
        ((0.5, 0.7), (0.5, 0.7), "is not shown"),
        ((0.5, 0.8), (0.4, 0.6), "is not shown"),
    ],
)
def test_who_did_better_is_said_where_the_intervals_say_it(
    mine: tuple[float, float], theirs: tuple[float, float], said: str
) -> None:
    words = beside([standing("The candidate", True, *mine), standing("Best of 4", False, *theirs)])
    assert said in words
    assert words.startswith("Against the same policy The candidate wins")


def test_nothing_is_said_while_one_of_them_has_no_verdict() -> None:
    silent = Standing(2, 12, Message("written", text="Best of 4"), False, {}, "")
    assert beside([standing("The candidate", True, 0.6, 0.8), silent]) == ""
