"""A rollout: the prompts that are asked, the answers that the policy writes, and the trajectory that these become once measured.

Token ids are kept from here on, never decoded and encoded again. Knows no reward's insides and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.contract.memory.forecast import WRITTEN_AT_ONCE
from trainer.lm.backbone import Backbone
from trainer.lm.forward import Packed, first_trained_layer, has_trunk
from trainer.lm.generate import Generated, generate, uniform_draws
from trainer.lm.machine.processes import dealt, in_parts, several
from trainer.lm.recorded_states import RecordedStates
from trainer.lm.slices import Budget, slices
from trainer.ppo.advantages import k1
from trainer.ppo.reward import Reward

Plan = Sequence[Sequence[Sequence[Tensor]]]  # epochs of minibatches of micro-batches of rows


@dataclass(frozen=True)
class Prompt:
    """A prompt as the loop needs it."""

    prompt_id: int
    ids: list[int]
    messages: Sequence[Mapping[str, str]] = ()  # what they were made of, for rewards that read texts


class Trajectory(NamedTuple):
    """B answers of up to T tokens, measured under the policy that wrote them and under the reference; all constant.

    The ids are in the `trainer.lm.forward.Packed` they were measured on. Everything is 0 outside the mask.
    """

    logprobs: Tensor  # (B, T) nats, of the chosen tokens under the policy
    ref_logprobs: Tensor  # (B, T) nats, of the same under the reference
    exact_kl: Tensor  # (B, T) nats, KL(policy || reference) over the whole vocabulary before each token
    entropy: Tensor  # (B, T) nats, of the policy before each token
    values: Tensor  # (B, T) the value head's estimate of the state before each token
    scores: Tensor  # (B,) the word on the whole answer for which the policy is rewarded
    mask: Tensor  # (B, T) bool, True on tokens of the answer, its EOS included; made from lengths
    judged: Tensor | None = None  # (B,) the word of an independent judge, which no policy is rewarded for; None without one
    overall: Tensor | None = None  # (B,) what the judge is set against: scores before criteria, flags and length enter them
    members: Tensor | None = None  # (B, K) scores by each estimate that was made without one of K parts of the labels' prompts
    base_logprobs: Tensor | None = None  # (B, T) nats, as `logprobs` under the base; None where the base is the reference
    outside: Tensor | None = (
        None  # (B, K) float64, by each reward outside of the model, as it was given; None where none is asked
    )
    potentials: Tensor | None = None  # (B, T) what the answer was worth before each token; None where nobody knows or asked
    # (B, T) nats, of the chosen tokens under whoever drew them, by its own arithmetic; None where that was not kept
    sampler_logprobs: Tensor | None = None
    cut_cost: Tensor | None = None  # (B,) >= 0, what answers pay of their scores for having no end; None where they pay nothing

    def rows(self, index: Tensor | slice) -> Trajectory:
        """Some of the answers."""
        return Trajectory._make(None if tensor is None else tensor[index] for tensor in self)

    @property
    def finite(self) -> bool:
        return all(bool(torch.isfinite(tensor).all()) for tensor in self if tensor is not None)

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of each answer, its EOS included."""
        return self.mask.sum(1)

    @property
    def paid_scores(self) -> Tensor:
        """(B,) scores less what an answer pays for having no end. A price on length is found on the scores alone, and comes on
        top: that cut answers are the longest is then not taken for a lean to the short, and bought back.
        """
        return self.scores if self.cut_cost is None else self.scores - self.cut_cost

    @property
    def sampler_difference(self) -> Tensor | None:
        """(N,) nats, log pi_old - log mu of every token that was drawn."""
        return None if self.sampler_logprobs is None else (self.logprobs - self.sampler_logprobs)[self.mask]

    @property
    def kl_nats(self) -> float:
        """KL per answer. The sum of exact KLs before each token has the same mean as that of log-ratios, and less noise."""
        return float(self.exact_kl.sum(1).mean())

    @property
    def under_base(self) -> Tensor:
        """(B, T) nats, of the chosen tokens under the base."""
        return self.ref_logprobs if self.base_logprobs is None else self.base_logprobs

    @property
    def from_base_nats(self) -> float:
        """KL per answer from the base; where that is not the reference, sampled, and so noisier."""
        return self.kl_nats if self.base_logprobs is None else float(k1(self.logprobs, self.base_logprobs).sum(1).mean())


@dataclass(frozen=True)
class Rollout:
    """Answers, measured and packed with the activations that no training changes. Behind those to learn from stand those that
    are only looked at: the panel's, and those to the other held-out prompts where it is their turn.
    """

    asked: Sequence[Prompt]
    answers: Sequence[Generated]
    packed: Packed
    plan: Plan  # of the epochs to come, over the episodes alone
    measured: Trajectory
    episodes: int  # answers to learn from
    panel: int = 0  # answers for a person to read
    held_out: int = 0  # answers to held-out prompts, of which the panel's are the first; 0 where it is not their turn

    @property
    def trajectory(self) -> Trajectory:
        """The episodes."""
        return self.measured.rows(slice(self.episodes))

    @property
    def held_out_rows(self) -> slice:
        return slice(self.episodes, self.episodes + self.held_out)

    @property
    def prompts(self) -> Tensor:
        """(B,) int64, which prompt each episode answers."""
        return torch.tensor([prompt.prompt_id for prompt in self.asked[: self.episodes]])


def to_record(backbone: Backbone, reward: Reward) -> RecordedStates | None:
    """What to keep while answers are written: the frozen trunk's output, and what the reward reads of the layers under it."""
    if not has_trunk(backbone) or several():  # whose answers are read by other processes than wrote them
        return None
    first = first_trained_layer(backbone)
    return RecordedStates({first, *(layer for layer in reward.layers if layer < first)})


def write_answers(
    backbone: Backbone,
    config: PPOConfig,
    asked: Sequence[Prompt],
    sampling: torch.Generator,
    recording: RecordedStates | None,
    check: Callable[[], None],
) -> list[Generated]:
    """One sampled answer per prompt; each process writes its share, with the draws that an answer has by its place."""
    draws, own = uniform_draws(len(asked), config.max_new_tokens, sampling), dealt(range(len(asked)))
    return in_parts(
        lambda: generate(
            backbone,
            [asked[at].ids for at in own],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            generator=draws[own],
            batch_size=WRITTEN_AT_ONCE,
            check=check,
            recording=recording,
        )
    )


def draw_plan(config: PPOConfig, packed: Packed, shuffling: torch.Generator) -> Plan:
    """Epochs of minibatches of micro-batches of row indices: a fresh permutation each epoch, every row once."""
    epochs = []
    for _ in range(config.epochs):
        steps = torch.randperm(config.episodes, generator=shuffling).chunk(config.minibatches)
        epochs.append([micro_batches(step, packed.lengths, budget_of(config)) for step in steps])
    return epochs


def micro_batches(index: Tensor, lengths: Tensor, budget: Budget) -> Sequence[Tensor]:
    """Rows `index` in micro-batches of like lengths (N,)."""
    return [index[part] for part in slices(lengths[index], budget)]


def budget_of(config: PPOConfig) -> Budget:
    """What one forward and backward pass may hold."""
    return Budget(config.microbatch, config.microbatch_tokens)
