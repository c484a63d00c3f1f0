"""Whether PPO may learn from a reward: whether it foretells judgements of prompts that it did not see better than guessing.

The test turns judgements round prompt by prompt, so it holds at any number of them and however alike those of one prompt are; it
allows for cross-validation, and it spends one error over all the times that a project asks. docs/decisions/0027 has the reasons.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from trainer.contract.messages import Message

ERROR: Final = 0.05  # in all, however often a project asks until it passes
FEWEST_JUDGED: Final = 20  # decided comparisons, or pairs of ratings where there are fewer of those
ROUNDING: Final = 1e-15  # of a p value; none is told to be less
TESTS: Final = ("reward_beats_chance", "reward_within_chance")  # reasons for which a p value was looked at
CROSS_VALIDATION: Final = 2.0  # how many times the variance of hits may be what it were, had each a model of its own


def level(earlier: int) -> float:
    """The error that a project may spend at this test, when `earlier` ones did not pass: .025, then .0083, .0042, ...

    `ERROR / (k (k + 1))` for the k-th, which add up to `ERROR`: alpha spending (Lan & DeMets 1983, Biometrika 70(3)) by the
    number of the test. Raises ValueError for a negative number.
    """
    if earlier < 0:
        raise ValueError(f"there cannot be {earlier} earlier tests")
    return ERROR / ((earlier + 1) * (earlier + 2))


def p_value(
    hits: Tensor,  # (N,) 1 where a held-out reward put a judgement the right way round, 0 where not, a half where it had none
    clusters: Sequence[str],  # N prompts
    inflation: float = CROSS_VALIDATION,  # of the variance
) -> float | None:
    """How often guesses would be right so often; None for no judgement.

    A sign-flip test by prompt (Fisher 1935, "The design of experiments", 21): were the labels noise, then each prompt's hits over
    misses would be as likely the other way round, whatever its judgements have to do with each other. All 2^prompts ways are
    counted, by the product of the prompts' characteristic functions.

    Before that the excess is divided by the root of `inflation`. Under noise hits of two folds go together, because each
    was foretold by what learned from the other's label (Bengio & Grandvalet 2004, JMLR 5; Noirhomme et al. 2014, NeuroImage:
    Clinical 4). For a reward that is linear in its labels y with coefficients K, the sum over i of y_i sum_j K_ij y_j has the
    variance sum over i < j of (K_ij + K_ji)^2, at most twice the sum of all K_ij^2, which turning prompts round accounts for.
    """
    if not len(hits):
        return None
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    index = torch.tensor([names[cluster] for cluster in clusters])
    sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, index, 2 * hits.double() - 1)
    return _tail(sums.abs().round().long(), math.ceil(float(sums.sum()) / math.sqrt(inflation) - 1e-9))


def least_p_value(clusters: Sequence[str]) -> float | None:
    """What `p_value` would be, were all hits."""
    return p_value(torch.ones(len(clusters)), clusters)


def _tail(
    sizes: Tensor,  # (prompts,) int64, hits less misses of each, without its sign
    least: int,
) -> float:
    """The share of all signs that make the sum of the sizes at least `least`."""
    most = int(sizes.sum())
    if least <= -most:
        return 1.0
    count = 2 * most + 1
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    product = torch.ones(count, dtype=torch.float64)
    for size, prompts in Counter(sizes.tolist()).items():
        product *= torch.cos(angle * size) ** prompts
    chances = torch.fft.fft(product).real / count  # of each sum; those below 0 stand at the end
    return min(1.0, max(ROUNDING, float(chances[torch.arange(least, most + 1) % count].sum())))


def gate(figures: Mapping[str, Any], earlier: int = 0) -> tuple[bool, Message]:
    """Whether held-out judgements with these figures are better than guesses, and why, after so many tests that did not pass."""
    decided, pairs = figures["decided"], figures["rating_pairs"]
    if decided >= FEWEST_JUDGED:
        prefix, judged = "", Message("judged_comparisons", count=decided, prompts=figures["decided_prompts"])
    elif pairs >= FEWEST_JUDGED:
        prefix, judged = "rating_", Message("judged_rating_pairs", count=pairs, prompts=figures["rating_prompts"])
    elif figures["ratings"] and not pairs:
        return False, Message("lone_ratings", ratings=figures["ratings"], comparisons=decided, needed=FEWEST_JUDGED)
    else:
        return False, Message("too_few_judged", comparisons=decided, ratings=pairs, needed=FEWEST_JUDGED)
    allowed = level(earlier)
    if figures[f"{prefix}least_p_value"] > allowed:
        return False, Message("too_few_prompts_to_tell", judged=judged, allowed=allowed, earlier=earlier)
    accuracy, low, high = (figures[f"{prefix}accuracy{end}"] for end in ("", "_low", "_high"))
    p = figures[f"{prefix}p_value"]
    if p <= allowed:
        return True, Message(
            "reward_beats_chance", judged=judged, accuracy=accuracy, low=low, high=high, p=p, allowed=allowed, earlier=earlier
        )
    return False, Message(
        "reward_within_chance", judged=judged, accuracy=accuracy, low=low, high=high, p=p, allowed=allowed, earlier=earlier
    )


def looked(reason: Message) -> bool:
    """Whether `gate` looked at a p value, and so spent some of the error; where there was too little to tell it did not."""
    return reason.code in TESTS
