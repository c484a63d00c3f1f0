"""What a person may set on the fit of a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trainer.contract.messages import Message
from trainer.contract.sample_config import arithmetic, device, microbatch_tokens, recompute, seed
from trainer.contract.setting import SHARE, ConfigError, check, setting, weights_by_name

MOST_WEIGHT: Final = 100.0
FEWEST_TOKENS: Final = 16  # of an answer and some of its prompt


@dataclass(frozen=True)
class RewardConfig:
    """Fit one reward to the labels so far."""

    method: str = setting(
        "auto",
        "How the reward model is fitted",
        "A Bayesian head on the frozen base, or adapters and a scalar head. Automatic fits both when there are enough labels and "
        "keeps the better on held-out prompts. Refitting the head from the newest reward model's takes seconds.",
        choices={
            "auto": "Automatic",
            "head": "Head on the frozen base",
            "lora": "Adapters",
            "warm": "Refit from the newest reward model",
        },
    )
    min_labels: int = setting(
        30,
        "Fewest labels for a round",
        "No round starts before people have given so many labels. From few, little can be learned, and it is hard to tell what "
        "was.",
        "labels",
        least=1,
        most=1_000_000,
        group="rounds",
    )
    lora_min_labels: int = setting(
        1000, "Labels before adapters are tried", "With the automatic method.", "labels", least=1, most=10_000_000
    )
    folds: int = setting(
        5, "Folds", "Held-out accuracy is cross-validated by prompt over this many folds.", "folds", least=2, most=50
    )
    both_bad_weight: float = setting(
        0.5,
        "What “both bad” counts",
        "How strongly it says that both answers are low, beside a comparison that counts 1. With 0 it says nothing.",
        least=0,
        most=10,
        group="learned",
    )
    rating_weight: float = setting(
        1.0,
        "What a rating counts",
        "One rating beside one comparison, which counts 1. With 0, ratings are left out.",
        least=0,
        most=10,
        group="learned",
    )
    rewrite_weight: float = setting(
        1.0,
        "What a rewrite counts",
        "A rewrite says that the person's own text beats the answer. This is how much it says so, beside a comparison, which "
        "counts 1.",
        least=0,
        most=10,
        group="learned",
    )
    criteria_weights: str = setting(
        "overall=1",
        "What the model is rewarded for",
        "How much each criterion counts in what the model is trained towards. Overall is the verdict itself; what counts 0 is "
        "left out.",
        group="learned",
    )
    reliability: str = setting(
        "auto",
        "Weigh people by their reliability",
        "Somebody who often decides against what everybody else's labels foretell counts less. Automatic does so only where it "
        "foretells held-out comparisons better.",
        choices={"auto": "Automatic", "on": "Always", "off": "Never: everybody counts the same"},
        group="learned",
    )
    taste: str = setting(
        "everybody",
        "Whose taste the model follows",
        "Where held-out comparisons say that people's tastes differ, two groups of people are told apart. The model follows what "
        "everybody likes on average, or one group alone; where tastes are one, everybody.",
        choices={
            "everybody": "Everybody's, on average",
            "larger": "The larger group's",
            "smaller": "The smaller group's",
            "off": "Everybody's: tastes are not told apart",
        },
        group="learned",
    )
    leniency: bool = setting(True, "Leniency of raters", "Learn each annotator's leniency and noise in ratings.")
    length_covariate: bool = setting(
        True,
        "Length as a feature",
        "Offer the head the log length and counts of words, which averages hide; the labels decide how much they weigh.",
    )
    judge_share: float = setting(
        0.0,
        "Labels kept for an independent check",
        "The labels of so many prompts are kept from the reward model. A second one, the judge, learns from them alone and tells "
        "whether the gains of training are real. With 0 that is told from what estimates made without some of the prompts "
        "disagree by, which costs no labels.",
        SHARE,
        least=0,
        most=0.5,
        group="learned",
    )
    judge_min_labels: int = setting(
        75,
        "Fewest labels for the judge",
        "Were the judge to learn from fewer than this, there is none, and the reward model learns from all.",
        "labels",
        least=1,
        most=1_000_000,
    )
    pessimism: float = setting(
        1.0,
        "Pessimism",
        "Deviations taken off a score: what estimates disagree by that were each made without some of the prompts. What rests on "
        "few labels earns less.",
        "deviations",
        least=0,
        most=10,
    )
    lora_rank: int = setting(16, "Rank of the adapters", "Of the low-rank matrices (LoRA).", least=1, most=1024)
    lora_layers: int = setting(8, "Adapted layers", "Counted from the top.", "layers", least=1, most=1000)
    learning_rate: float = setting(2e-4, "Learning rate", "The peak, of the adapters and their head.", least=1e-9, most=1)
    epochs: int = setting(1, "Epochs", "Passes over the labels when adapters are trained.", least=1, most=1000)
    batch_size: int = setting(8, "Batch size", "Comparisons per optimiser step.", "comparisons", least=1, most=4096)
    microbatch_tokens: int = microbatch_tokens()
    recompute: str = recompute()
    max_tokens: int = setting(
        0,
        "Tokens read",
        "Prompt and answer together are cut to this many: at least an answer and some of its prompt. With 0 nothing is cut that "
        "the base model can hold.",
        "tokens",
        least=0,
        most=131_072,
    )
    dtype: str = arithmetic()
    device: str = device()
    seed: int = seed("Of folds, initial weights and order.")

    def __post_init__(self) -> None:
        check(self, self._contradictions())

    def _contradictions(self) -> Iterator[tuple[str, Message]]:
        if 0 < self.max_tokens < FEWEST_TOKENS:
            yield "max_tokens", Message("nought_or_at_least", least=FEWEST_TOKENS)
        try:
            self.weights()
        except ConfigError as error:
            yield from error.problems.items()

    def weights(self) -> dict[str, float]:
        """Criterion, or `overall`, -> its weight in PPO's reward."""
        found = weights_by_name("criteria_weights", self.criteria_weights, MOST_WEIGHT)
        if not any(found.values()):
            raise ConfigError({"criteria_weights": Message("weights_all_zero")})
        return found
