"""People as real ones judged elsewhere: a reward fitted to human judgements of other prompts, which then judges answers here.

The folder of judgements holds `pairs_tulu1.jsonl.gz` (ordinary instructions, people who compared two answers; bench/reward.py
reads it, too). The longer answer won two thirds of those pairs, and people here are to like answers for what they say: so as many
pairs are taken that it won as that it lost, and length is no feature (cf. Dubois et al. 2024, arXiv:2404.04475). The reward is
the trainer's Bayesian head on the base's pooled states.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.reading import Measured, Pair
from bench.reward import features_of, labels_of, pairs
from trainer.contract.config import RewardConfig
from trainer.lm.backbone import Backbone
from trainer.reward import validation
from trainer.reward.data import Answer, Labels, ids_of_text
from trainer.reward.features import LENGTH, SUM
from trainer.reward.head.model import Head
from trainer.reward.held_out import cross_validate, join, split_prompts
from trainer.reward.people.standards import fitted_head

JUDGED = "pairs_tulu1.jsonl.gz"
CONFIG = RewardConfig(max_tokens=256, judge_share=0.0)


class People:
    """A preference learned from people, `liking`; `figures` say how well it foretells people on prompts it did not learn from."""

    def __init__(self, backbone: Backbone, judged: Sequence[dict[str, Any]], cache: Path) -> None:
        """`judged`: rows of `prompt`, `chosen`, `rejected`. `cache`: a folder for what the base makes of their answers."""
        self._backbone, self._cache = backbone, cache
        labels = labels_of(balanced(judged, lambda text: len(ids_of_text(backbone, text))))
        features = self._features(labels.answers)

        def fitted(some: Labels) -> Head:
            return fitted_head(features, some, CONFIG)

        parts, _ = cross_validate(labels, split_prompts(labels, CONFIG), fitted, features)
        found = validation.headline_figures(join(parts))
        self.figures = {
            "pairs": len(labels.comparisons),
            "prompts": len(labels.prompt_keys),
            "accuracy": round(found["accuracy"], 3),
            "accuracy_interval": [round(found["accuracy_low"], 3), round(found["accuracy_high"], 3)],
        }
        self._head = fitted(labels)
        self.liking = Measured(self._liking)

    def _liking(self, asked: Sequence[Pair]) -> list[float]:
        answers = [Answer((("user", prompt),), text, None) for prompt, text in asked]
        found: list[float] = self._head.reward(self._features(answers)).tolist()
        return found

    def _features(self, answers: Sequence[Answer]) -> dict[str, Tensor]:
        """Group -> (answers, D)."""
        found = features_of(self._backbone, Labels(answers=list(answers)), self._cache, CONFIG)
        return {name: values for name, values in found.items() if name not in (LENGTH, SUM)}


def balanced(rows: Sequence[dict[str, Any]], length: Callable[[str], int]) -> list[dict[str, Any]]:
    """As many pairs whose longer answer was chosen as pairs whose shorter one was, in their order; none of equal length."""
    by = [length(row["chosen"]) - length(row["rejected"]) for row in rows]
    sides = [[at for at, apart in enumerate(by) if side * apart > 0] for side in (1, -1)]
    fewer = min(map(len, sides))
    draw = random.Random(0)
    return [rows[at] for at in sorted(at for side in sides for at in draw.sample(side, fewer))]


def judged_by_people(folder: Path, but_not: Collection[str]) -> list[dict[str, Any]]:
    """Pairs that people judged, without those of the prompts `but_not`. Raises SystemExit where the folder has none."""
    if not (folder / JUDGED).exists():
        raise SystemExit(f"{folder} does not hold {JUDGED}, from which these people learn to judge: nothing was measured")
    own = {prompt.strip() for prompt in but_not}
    return [row for row in pairs(folder / JUDGED) if row["prompt"].strip() not in own]
