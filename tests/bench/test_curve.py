"""Verdicts and accuracy of the curve over numbers of labels."""

from __future__ import annotations

import pytest
import torch

from bench.curve import accuracy, judge
from trainer.reward.data import Answer

ANSWERS = [
    Answer((("user", f"Question {number % 3}"),), " ".join(["word"] * (1 + number)), (1, 2)) for number in range(12)
]  # four answers to each of three prompts


def longer(_prompt: str, text: str) -> float:
    return float(len(text))


def test_fewer_labels_are_the_first_of_the_more_and_pairs_are_of_one_prompt() -> None:
    many = judge(ANSWERS, longer, 18)

    assert judge(ANSWERS, longer, 7) == many[:7]
    assert len({frozenset((label.left, label.right)) for label in many}) == 18
    for label in many:
        assert {ANSWERS[label.left].prompt_key, ANSWERS[label.right].prompt_key} == {label.prompt_key}


def test_most_verdicts_say_what_the_preference_does_and_some_are_turned_round() -> None:
    said = [(label.choice == "left") == (label.left > label.right) for label in judge(ANSWERS, longer, 18)]

    assert 18 > sum(said) > 9


def test_more_labels_than_pairs_are_refused() -> None:
    with pytest.raises(SystemExit, match="18 pairs"):
        judge(ANSWERS, longer, 19)


def test_accuracy_counts_pairs_of_one_prompt_only() -> None:
    lengths = torch.arange(12.0)

    assert accuracy(ANSWERS, longer, lengths) == 1.0
    assert accuracy(ANSWERS, longer, -lengths) == 0.0
    assert accuracy(ANSWERS, longer, torch.zeros(12)) == 0.5
    assert accuracy(ANSWERS, longer, lengths % 3) == 0.5  # orders prompts, and no two answers to one
