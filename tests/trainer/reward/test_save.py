"""The scales that a reward checkpoint is read on."""

from __future__ import annotations

import pytest
import torch

from trainer.contract.config import RewardConfig
from trainer.reward.data import Answer, Labels
from trainer.reward.head.model import Group, Head
from trainer.reward.save import RewardHeads, disagreement, scale, unseen
from trainer.reward.score_weights import OVERALL

FEATURES = {"x": torch.tensor([[0.0], [1.0], [2.0], [4.0]])}


def head(weight: float) -> Head:
    group = Group(torch.zeros(1), torch.ones(1), 1.0, torch.tensor([weight], dtype=torch.float64))
    return Head({"x": group}, torch.zeros(0, 1, dtype=torch.float64), 0.0, None, [], 1.0)


def answer(key: str) -> Answer:
    return Answer((("user", key),), key, None)


def kept(*members: float) -> RewardHeads:
    return RewardHeads(head(3.0), [head(weight) for weight in members], None, None, {}, None, 0.0)


def test_the_scale_is_that_of_answers_that_no_head_knows() -> None:
    """Prompts a and b were judged; the members were fitted without one of them each. Nobody judged c."""
    folds = {answer("a").prompt_key: 0, answer("b").prompt_key: 1}
    labels = Labels(answers=[answer("a"), answer("b"), answer("b"), answer("c")], panel=[0, 1, 2, 3])
    rewards = head(3.0).reward(FEATURES)
    found = unseen(kept(1.0, 2.0), labels, FEATURES, rewards, folds)
    assert found.tolist() == [0.0, 2.0, 4.0, 12.0]
    scales = scale(kept(1.0, 2.0), labels, FEATURES, rewards, torch.ones(4), RewardConfig(), folds)
    assert scales.heads[OVERALL]["panel_mean"] == pytest.approx(4.5)
    assert scales.heads[OVERALL]["panel_deviation"] == pytest.approx(float(found.std()))
    assert scales.members == pytest.approx([1.75, 3.5])


def test_what_is_taken_off_grows_with_what_the_members_disagree_by() -> None:
    doubt = disagreement(kept(1.0, 2.0), Labels(answers=[answer(key) for key in "abcd"]), FEATURES)
    # 1 and 2 times the answer less its mean of 1.75: .5 apart from their mean, times the root of one
    assert doubt.tolist() == pytest.approx([0.875, 0.375, 0.125, 1.125])
    assert disagreement(kept(2.0, 2.0), Labels(answers=[answer(key) for key in "abcd"]), FEATURES).tolist() == [0, 0, 0, 0]
    on_two = Labels(answers=[answer(key) for key in "abcd"], panel=[0, 1])  # whose mean is .5
    assert disagreement(kept(1.0, 2.0), on_two, FEATURES).tolist() == pytest.approx([0.25, 0.25, 0.75, 1.75])
