"""What counts as an answer of a reward outside: as many finite numbers as there were answers, or the run ends with a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Final

from trainer.contract.folder import Unanswered
from trainer.contract.messages import Message

LARGEST: Final = 1e30  # beyond it squares, of which deviations are made, are no numbers


def checked(name: str, given: object, answers: int) -> list[float]:
    """The scores of so many answers, as the reward `name` gave them. Raises Unanswered, saying what is wrong with them."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise Unanswered(Message("outside_no_scores", name=name))
    scores = list(given)
    if len(scores) != answers:
        raise Unanswered(Message("outside_count", name=name, found=len(scores), answers=answers))
    if not all(isinstance(score, Real) and not isinstance(score, bool) for score in scores):
        raise Unanswered(Message("outside_no_scores", name=name))
    if not all(_is_usable(score) for score in scores):
        raise Unanswered(Message("outside_not_finite", name=name))
    return [float(score) for score in scores]


def _is_usable(score: Real) -> bool:
    try:
        return math.isfinite(score) and abs(float(score)) <= LARGEST
    except OverflowError:  # a whole number past what a float holds
        return False
