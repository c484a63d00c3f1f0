"""What people flag, as a reward of its own: what the flags that an answer will meet are to cost.

Fitted by the head's own machinery; a flag is a rating of two points, so that some people may flag more readily than others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.reward.data import FlagJudgement, Labels, Rating
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.model import Head

FEWEST_FLAGS = 5
CONTROLS = 2000  # answers without a flag that stand for all of them
FLAGGED, CLEAN = 2, 1


def fit_flags(features: Mapping[str, Tensor], labels: Labels, costs: Mapping[str, float]) -> Head | None:
    """The head of the flags that cost something; None where too few were given."""
    ratings = flag_ratings(labels.flag_judgements, costs)
    if sum(rating.overall == FLAGGED for rating in ratings) < FEWEST_FLAGS:
        return None
    return fit(features, [], ratings, HeadSettings(points=2))


def flag_ratings(judgements: Sequence[FlagJudgement], costs: Mapping[str, float]) -> list[Rating]:
    """Judgements as ratings of two points. A flag weighs what it costs; `flag_cost` takes that out of the odds again. Of the
    clean ones an even part stands for all.
    """
    cost = [sum(costs.get(flag, 0.0) for flag in judgement.flags) for judgement in judgements]
    flagged = [judgement for judgement, weight in zip(judgements, cost, strict=True) if weight]
    clean = [judgement for judgement in judgements if not judgement.flags]
    shown = clean if len(clean) <= CONTROLS else [clean[index * len(clean) // CONTROLS] for index in range(CONTROLS)]
    each = len(clean) / len(shown) if shown else 1.0
    weights = [weight for weight in cost if weight]
    return [
        *(
            Rating(judgement.answer, FLAGGED, judgement.annotator, judgement.prompt_key, weight=weight)
            for judgement, weight in zip(flagged, weights, strict=True)
        ),
        *(Rating(judgement.answer, CLEAN, judgement.annotator, judgement.prompt_key, weight=each) for judgement in shown),
    ]


def typical_cost(labels: Labels, costs: Mapping[str, float]) -> float:
    """The mean cost of an answer somebody flagged, in units of the latent reward; of flags that cost something."""
    paid = [cost for judgement in labels.flag_judgements if (cost := sum(costs.get(flag, 0.0) for flag in judgement.flags))]
    return sum(paid) / len(paid)


def flag_cost(head: Head, features: Mapping[str, Tensor], typical: float) -> Tensor:
    """(N,) float64 cost to expect of each answer from an average annotator, in units of the latent reward.

    Where a flag of cost w comes with chance p, weighing flags by w fits the odds o = w p / (1 - p); the cost w p is then
    w o / (w + o). That is exact where all flags cost the same, and else takes their mean.
    """
    odds = head.reward(features) - head.cutpoints[0]
    return typical * torch.sigmoid(odds - math.log(typical))
