"""The replay of rules on labels that are there: who is held out, when a curve arrives, and by what interval."""

from __future__ import annotations

import pytest
import torch

from bench.selection import ENOUGH, labels_to, replay, simulated, split, summary
from trainer.reward.data import Answer, Comparison, Labels
from trainer.reward.head.next_pairs import RULES

LABELS = Labels(
    answers=[
        Answer((("user", f"Question {number // 2}"),), " ".join(["word"] * (1 + number % 7)), None) for number in range(400)
    ],
    comparisons=[Comparison(2 * one, 2 * one + 1, "right", None, "people", f"prompt {one}") for one in range(200)],
)


def longer(_prompt: str, text: str) -> float:
    return float(len(text))


def test_no_prompt_is_both_asked_and_held_out_and_held_out_verdicts_are_not_turned_round() -> None:
    said, true = (simulated(LABELS, longer, 0, flipped) for flipped in (0.15, 0.0))
    pool, asked = split(said, true, 0)

    assert not {one.prompt_key for one in pool} & {one.prompt_key for one in asked}
    assert len(pool) + len(asked) == len(said)
    assert 40 < len(asked) < 80
    lengths = [len(answer.text) for answer in LABELS.answers]
    assert all((one.choice == "left") == (lengths[one.left] > lengths[one.right]) for one in asked)
    turned = sum((one.choice == "left") != (lengths[one.left] > lengths[one.right]) for one in pool)
    assert 0.05 < turned / len(pool) < 0.25


def test_a_curve_arrives_between_two_steps_and_else_says_nothing() -> None:
    assert labels_to([0.5, 0.6, 0.8], [40, 60, 100], 0.7) == pytest.approx(80)
    assert labels_to([0.5, 0.6, 0.8], [40, 60, 100], 0.5) is None
    assert labels_to([0.5, 0.6, 0.8], [40, 60, 100], 0.9) is None


def test_no_share_of_labels_is_told_where_the_first_step_is_enough() -> None:
    there = torch.tensor([[0.9, 0.9, 0.9]] * 4)
    line = summary({"uniform": there, "d_optimal": there}, torch.full((4,), 0.9), [40, 100, 200])["rules"]["d_optimal"]

    for target in ENOUGH:
        assert line[target] == {"labels": None, "of_uniform": None, "of_uniform_95": None}
    assert line["gain_95"] == [0.0, 0.0]


def test_a_rule_that_needs_half_of_the_labels_says_so_and_uniform_is_its_own_measure() -> None:
    slow, quick = torch.tensor([[0.5, 0.7, 0.9]] * 4), torch.tensor([[0.5, 0.9, 0.9]] * 4)
    found = summary({"uniform": slow, "d_optimal": quick}, torch.full((4,), 0.9), [0, 100, 200])

    assert found["rules"]["uniform"]["of_accuracy"]["of_uniform_95"] == [1.0, 1.0]
    assert found["rules"]["d_optimal"]["of_accuracy"] == {"labels": 89, "of_uniform": 0.5, "of_uniform_95": [0.5, 0.5]}  # .855
    assert found["rules"]["d_optimal"]["of_the_way"]["labels"] == 95  # .88 between .5 and .9
    assert found["rules"]["d_optimal"]["gain_95"] == pytest.approx([0.0667, 0.0667])


def test_rules_begin_with_the_same_labels_and_end_with_the_whole_pool() -> None:
    draw = torch.Generator().manual_seed(0)
    features = {"one": torch.randn(400, 5, generator=draw)}
    better = features["one"][:, 0]
    said = [one._replace(choice="left" if better[one.left] > better[one.right] else "right") for one in LABELS.comparisons]
    pool, asked = split(said, said, 1)
    curves, full = replay(features, pool, asked, [20, 40, len(pool)], 1)

    assert set(curves) == set(RULES)
    assert {curve[0] for curve in curves.values()} == {curves["uniform"][0]}
    assert full > 0.9
    assert all(curve[-1] == pytest.approx(full, abs=0.02) for curve in curves.values())
    assert len({tuple(curve) for curve in curves.values()}) > 1
