"""Words that set a cluster apart, by hand-computed numbers and in two scripts."""

from __future__ import annotations

import math

import pytest

from trainer.reward.coverage.words import log_odds_z, words_apart, words_of


def test_words_are_in_small_letters_and_scripts_without_spaces_give_pairs() -> None:
    assert words_of("Why is the sky blue, the Sky?") == {"why", "is", "the", "sky", "blue"}
    assert words_of("天空為何 x 2026 blue_green") == {"天空", "空為", "為何", "blue", "green"}
    assert words_of("Überraschung für Ana") == {"überraschung", "für", "ana"}


def test_the_log_odds_are_those_of_the_paper() -> None:
    """Ten of 50 words here, two of 150 elsewhere, 12 of 200 everywhere: a prior of 6 of 100."""
    expected = (math.log(16 / (150 - 16)) - math.log(8 / (250 - 8))) / math.sqrt(1 / 16 + 1 / 8)
    assert log_odds_z(10, 50, 2, 150, 12 / 200) == pytest.approx(expected, abs=1e-12)
    assert log_odds_z(10, 100, 10, 100, 0.1) == pytest.approx(0)


def test_what_all_say_sets_none_apart() -> None:
    about = {"sourdough bread": 0, "chess opening": 1, "train to Ghent": 2}
    texts = [f"Please tell me about {topic}, number {n}" for topic in about for n in range(20)]
    found = words_apart(texts, [place for place in about.values() for _ in range(20)])
    assert [set(words) for words in found] == [{"sourdough", "bread"}, {"chess", "opening"}, {"train", "to", "ghent"}]


def test_a_word_of_one_prompt_alone_tells_of_that_prompt() -> None:
    texts = ["zugzwang " * 9, *["chess"] * 30, *["bread"] * 30]
    first, second = words_apart(texts, [0] * 31 + [1] * 30)
    assert (first, second) == (("chess",), ("bread",))


def test_nothing_is_said_of_the_only_word_there_is() -> None:
    assert words_apart([f"Compute {number} + {number}" for number in range(20)], [number % 4 for number in range(20)]) == [()] * 4


def test_nothing_is_said_of_what_is_all_alike() -> None:
    assert words_apart(["the same"] * 10, [0, 1] * 5) == [(), ()]
