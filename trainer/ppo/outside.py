"""Rewards outside of the model, mixed with the model's: each on the scale of the base's answers, then by weight.

An outside score has a unit of its own. Before the first update the base answers `SCALED_ON` prompts; mean and deviation of each
reward over these answers are frozen, and the sum is divided by its own deviation there, so that 1 is one deviation of the base's
answers, as it is without rewards outside: beta, prices and bounds mean the same. Knows no address and no package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.contract.folder import Refused
from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone
from trainer.lm.generate import Generated
from trainer.ppo.rollout import Prompt

SCALED_ON: Final = 128  # answers of the base: their deviation is then known to about 6 %

Conversation = Sequence[Mapping[str, str]]


class OutsideReward(Protocol):
    """Scores texts."""

    def __call__(self, prompts: Sequence[Conversation], answers: Sequence[str], check: Callable[[], None]) -> Sequence[float]:
        """In the order of the answers; finite. Raises Unanswered, and what `check` raises."""


Outside = Mapping[str, OutsideReward]  # by name, in the order of `PPOConfig.outside_weights`
NOBODY: Final[Outside] = MappingProxyType({})


class Mixture(NamedTuple):
    """How scores are mixed; frozen before the first update, and part of a run's resumable state."""

    weights: list[float]  # K, of the rewards outside; the model's is 1
    means: list[float]  # K, of each over the base's answers
    deviations: list[float]  # K
    mean: float  # of the model's scores of these answers
    deviation: float  # of the sum

    def mixed(
        self,
        scores: Tensor,  # (B,) by the reward model, on its scale
        outside: Tensor,  # (B, K) float64, as they were given
    ) -> Tensor:
        """(B,) float32: what the policy is rewarded for."""
        total = scores.double() - self.mean + self._standardised(outside) @ torch.tensor(self.weights, dtype=torch.float64)
        return (self.mean + total / self.deviation).float()

    def _standardised(self, outside: Tensor) -> Tensor:
        means, deviations = (torch.tensor(each, dtype=torch.float64) for each in (self.means, self.deviations))
        standardised: Tensor = (outside - means) / deviations
        return standardised


def mixture(
    weights: Mapping[str, float],
    scores: Tensor,  # (N,) of the base's answers, by the reward model
    outside: Tensor,  # (N, K) float64, of the same
) -> Mixture:
    """Raises Refused where a reward cannot tell these answers apart."""
    deviations = outside.std(0, correction=0)
    for name, score, deviation in zip(weights, outside[0].tolist(), deviations.tolist(), strict=True):
        if deviation <= 1e-9 * max(1.0, abs(score)):
            raise Refused(Message("outside_the_same", name=name, score=score))
    mean = float(scores.double().mean())
    plain = Mixture(list(weights.values()), outside.mean(0).tolist(), deviations.tolist(), mean, 1.0)
    total = plain.mixed(scores, outside).double()
    return plain._replace(deviation=float(total.std(correction=0)) or 1.0)


def ask(
    outside: Outside, backbone: Backbone, asked: Sequence[Prompt], answers: Sequence[Generated], check: Callable[[], None]
) -> Tensor:
    """(B, K) float64 scores of answers as people would read them."""
    prompts = [prompt.messages for prompt in asked]
    texts = [str(backbone.tokenizer.decode(given.ids, skip_special_tokens=True)) for given in answers]
    given = [torch.tensor(list(reward(prompts, texts, check)), dtype=torch.float64) for reward in outside.values()]
    return torch.stack(given, 1)
