"""The figures of the loop with simulated people."""

from __future__ import annotations

from bench.loop import agreement


def test_a_reward_that_cannot_tell_two_answers_apart_is_right_by_half() -> None:
    assert agreement([[(0.0, 1.0), (1.0, 1.0)]]) == (0.5, 1)
    assert agreement([[(1.0, 1.0), (0.0, 1.0)]]) == (0.5, 1)


def test_only_pairs_of_one_prompt_whose_truths_differ_count() -> None:
    assert agreement([[(0.0, 1.0), (1.0, 2.0), (1.0, 0.0)], [(5.0, 0.0)]]) == (1.0, 2)
