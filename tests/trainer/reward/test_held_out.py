"""Who learns from which prompts."""

from __future__ import annotations

import torch

from trainer.contract.config import RewardConfig
from trainer.reward.data import Comparison, Labels, Rating
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.model import Head
from trainer.reward.held_out import cross_validate, split_prompts

CONFIG = RewardConfig(judge_share=0.25, judge_min_labels=30)


def labels(count: int = 200, prompts: int = 40) -> Labels:
    draw = torch.Generator().manual_seed(0)
    sides = torch.randint(60, (count, 2), generator=draw).tolist()
    return Labels(
        comparisons=[
            Comparison(left, right, "left", None, "anna", f"p{row % prompts}")
            for row, (left, right) in enumerate(sides)
            if left != right
        ],
        ratings=[Rating(row % 60, 3, "ben", f"p{row % prompts}") for row in range(20)],
    )


def test_no_prompt_is_on_two_sides() -> None:
    given = labels()

    split = split_prompts(given, CONFIG)

    assert 5 <= len(split.judge) <= 15
    assert split_prompts(given.on(given.prompt_keys[:35]), CONFIG).judge <= split.judge  # more labels move no prompt
    assert set(split.folds) | split.judge == set(given.prompt_keys)
    assert not set(split.folds) & split.judge
    for fold in range(split.count):
        inside, outside = split.inside(fold), split.outside(fold)
        assert inside
        assert inside | outside == set(split.folds)
        assert not inside & outside
        assert {label.prompt_key for label in given.on(outside).comparisons} == {
            key for key in outside if any(label.prompt_key == key for label in given.comparisons)
        }


def test_nothing_of_a_held_out_prompt_is_fitted() -> None:
    given = labels()
    split = split_prompts(given, CONFIG)
    features = {"told": torch.randn(60, 3, generator=torch.Generator().manual_seed(1))}
    seen: list[set[str]] = []

    def spy(rest: Labels) -> Head:
        seen.append(set(rest.prompt_keys))
        return fit(features, rest.comparisons, rest.ratings, HeadSettings())

    parts, heads = cross_validate(given, split, spy, features, lambda _fold, _part: None)

    assert len(heads) == split.count
    for learned, part in zip(seen, parts, strict=True):
        predicted = {label.prompt_key for label in part.comparisons} | {label.prompt_key for label in part.ratings}
        assert predicted
        assert not learned & (predicted | split.judge)
    assert sum(len(part.comparisons) for part in parts) == len(given.on(split.folds).comparisons)


def test_too_few_labels_make_no_judge_and_lose_none() -> None:
    given = labels(60)

    split = split_prompts(given, RewardConfig())

    assert not split.judge
    assert set(split.folds) == set(given.prompt_keys)


def test_a_judge_never_leaves_the_reward_too_little() -> None:
    given = labels(400)
    assert split_prompts(given, RewardConfig(judge_share=0.25)).judge
    greedy = split_prompts(given, RewardConfig(judge_share=0.25, min_labels=given.usable - 10))
    assert not greedy.judge
    assert set(greedy.folds) == set(given.prompt_keys)


def test_no_judge_is_made_where_none_is_wanted() -> None:
    assert not split_prompts(labels(), RewardConfig(judge_share=0.0)).judge
