"""People as real ones judged elsewhere: a reward fitted to human judgements of other prompts, which then judges answers here.

The folder of judgements holds `pairs_tulu1.jsonl.gz` (ordinary instructions, people who compared two answers; bench/reward.py
reads it, too). The reward is the trainer's Bayesian head on the base's pooled states and on the log length. It is told the length
so that what that does is known, and then it is taken out: the longer answer won two thirds of those pairs, and people here are to
like answers for what they say (Dubois et al. 2024, arXiv:2404.04475).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.reading import Measured, Pair
from bench.reward import features_of, labels_of, pairs
from trainer.contract.config import RewardConfig
from trainer.lm.backbone import Backbone
from trainer.reward import validation
from trainer.reward.data import Answer, Labels
from trainer.reward.features import LENGTH, SUM
from trainer.reward.head.model import Head
from trainer.reward.held_out import cross_validate, join, predict, split_prompts
from trainer.reward.run import fitted_head

JUDGED = "pairs_tulu1.jsonl.gz"
CONFIG = RewardConfig(max_tokens=256, judge_share=0.0)


class People:
    """A preference learned from people, `liking`; `figures` say how well it foretells people on prompts it did not learn from."""

    def __init__(self, backbone: Backbone, judged: Sequence[dict[str, Any]], cache: Path) -> None:
        """`judged`: rows of `prompt`, `chosen`, `rejected`. `cache`: a folder for what the base makes of their answers."""
        self._backbone, self._cache = backbone, cache
        labels = labels_of([row for row in judged if row["chosen"] != row["rejected"]])
        features = self._features(labels.answers)

        def fitted(some: Labels) -> Head:
            return fitted_head(features, some, CONFIG)

        split = split_prompts(labels, CONFIG)
        parts, heads = cross_validate(labels, split, fitted, lambda head: head.reward(features))
        without = [
            predict(labels.on(split.inside(fold)), fold, content(head).reward(features), head) for fold, head in enumerate(heads)
        ]
        self.figures: dict[str, Any] = {"pairs": len(labels.comparisons), "prompts": len(labels.prompt_keys)}
        for name, held in {"accuracy": parts, "accuracy_without_length": without}.items():
            found = validation.headline_figures(join(held))
            interval = [round(found["accuracy_low"], 3), round(found["accuracy_high"], 3)]
            self.figures |= {name: round(found["accuracy"], 3), f"{name}_interval": interval}
        self._head = content(fitted(labels))
        self.liking = Measured(self._liking)

    def _liking(self, asked: Sequence[Pair]) -> list[float]:
        answers = [Answer((("user", prompt),), text, None) for prompt, text in asked]
        found: list[float] = self._head.reward(self._features(answers)).tolist()
        return found

    def _features(self, answers: Sequence[Answer]) -> dict[str, Tensor]:
        """Group -> (answers, D)."""
        found = features_of(self._backbone, Labels(answers=list(answers)), self._cache, CONFIG)
        return {name: values for name, values in found.items() if name != SUM}


def content(head: Head) -> Head:
    """The head without what it learned of length."""
    groups = {
        name: replace(group, weights=torch.zeros_like(group.weights)) if name == LENGTH else group
        for name, group in head.groups.items()
    }
    return replace(head, groups=groups)


def judged_by_people(folder: Path, but_not: Collection[str]) -> list[dict[str, Any]]:
    """Pairs that people judged, without those of the prompts `but_not`. Raises SystemExit where the folder has none."""
    if not (folder / JUDGED).exists():
        raise SystemExit(f"{folder} does not hold {JUDGED}, from which these people learn to judge: nothing was measured")
    own = {prompt.strip() for prompt in but_not}
    return [row for row in pairs(folder / JUDGED) if row["prompt"].strip() not in own]
