"""What PPO needs of a reward: scores of answers, and which layers of the base it reads for them. A protocol, and no more.

`trainer.reward.scorer.Scorer` is a reward by its shape alone: neither room imports the other, `trainer.__main__` brings the two
together. `Rule` makes one of a function.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.lm.backbone import Backbone
from trainer.lm.forward import Packed

Ids = Sequence[Sequence[int]]  # token ids of B texts


class Verdicts(Protocol):
    """What a reward says of B answers."""

    @property
    def scores(self) -> Tensor:
        """(B,) float32: what the policy is rewarded for."""

    @property
    def overall(self) -> Tensor:
        """(B,) float32: what the judge is set against, the scores before criteria and flags enter them."""

    @property
    def judged(self) -> Tensor | None:
        """(B,) float32: the word of an independent judge, or what the reward is at the least; None where nobody knows."""

    @property
    def members(self) -> Tensor | None:
        """(B, K) float32: scores by each of K estimates that were made without one of K parts of the labels' prompts."""


class Onlooker(Protocol):
    """Looks on while the base's layers read answers, so that their scores come free with a pass that is made anyway."""

    def visit(self, layer: int, states: Tensor, rows: Tensor) -> None:
        """Take `hidden_states[layer]`, (n, L, D), of the answers `rows` (n,) of the packed ones."""

    def verdicts(self) -> Verdicts:
        """Of all answers, once every layer was seen for each."""

    def partial(self) -> Tensor:
        """(B, T) what the answers were worth before each of their tokens; 0 before the first and outside of answers. Raises
        ValueError where it was not to be asked.
        """


class Reward(Protocol):
    """Scores answers; none depends on the others it is asked about."""

    @property
    def layers(self) -> Collection[int]:
        """Indices into the base's `hidden_states` that an onlooker of it wants to see."""

    def onlooker(self, backbone: Backbone, packed: Packed, partial: bool = False) -> Onlooker | None:
        """Looks on at the passes of this backbone's base over these answers; None where they are not those it would make.
        `partial`: whether it will be asked what they were worth on the way.
        """

    def verdicts(self, prompt_ids: Ids, response_ids: Ids, cut: Sequence[bool]) -> Verdicts:
        """Of answers as they were drawn, by a pass of its own; `cut` where the limit on tokens ended one."""

    def partial(self, prompt_ids: Ids, response_ids: Ids) -> Tensor | None:
        """(B, T) as an onlooker's, by a pass of its own; None where nobody knows what half an answer is worth."""

    def without_length(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """(B,) scores less what the `lengths` (B,) of answers, in tokens without the end, alone foretell of them.

        Raises ValueError where nobody knows that.
        """


class PlainVerdicts(NamedTuple):
    """Verdicts as they are; fields as in `Verdicts`."""

    scores: Tensor
    overall: Tensor
    judged: Tensor | None
    members: Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """A reward that is a rule on token ids, for what is known before anything is learned; its judge may be another."""

    score: Callable[[Ids, Ids], Tensor]  # prompt ids, response ids of B answers -> (B,)
    judge: Callable[[Ids, Ids], Tensor] | None = None
    members: Callable[[Ids, Ids], Tensor] | None = None  # -> (B, K)
    layers: tuple[int, ...] = ()

    def onlooker(self, backbone: Backbone, packed: Packed, partial: bool = False) -> None:
        return None

    def verdicts(self, prompt_ids: Ids, response_ids: Ids, cut: Sequence[bool]) -> PlainVerdicts:
        scores = self.score(prompt_ids, response_ids).float()
        judged = self.judge(prompt_ids, response_ids).float() if self.judge else None
        members = self.members(prompt_ids, response_ids).float() if self.members else None
        return PlainVerdicts(scores, scores, judged, members)

    def partial(self, prompt_ids: Ids, response_ids: Ids) -> None:
        return None

    def without_length(self, scores: Tensor, lengths: Tensor) -> Tensor:
        raise ValueError("a rule does not know what length foretells of its scores: only a reward model's labels do")


def joined(parts: Sequence[Verdicts]) -> PlainVerdicts:
    """Verdicts on parts of the answers as verdicts on all."""
    judged = [part.judged for part in parts if part.judged is not None]
    members = [part.members for part in parts if part.members is not None]
    return PlainVerdicts(
        torch.cat([part.scores for part in parts]),
        torch.cat([part.overall for part in parts]),
        torch.cat(judged) if judged else None,
        torch.cat(members) if members else None,
    )
