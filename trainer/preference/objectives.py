"""DPO and KTO over a batch of examples: its loss, and where it is to learn, the gradients; in micro-batches that change nothing.

Knows no optimiser and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from trainer.contract.config import PreferenceConfig
from trainer.lm.machine.processes import dealt, summed, undealt
from trainer.lm.slices import Budget, slices
from trainer.preference.data import Pair, Single
from trainer.preference.log_ratios import LogRatios
from trainer.preference.losses import dpo_loss, kto_loss, kto_reference, kto_weights, per_token
from trainer.reward.validation import correct


class Said(NamedTuple):
    """What a batch says. An implicit reward is beta times a log-ratio; the mean of none is NaN."""

    loss: float  # mean over the examples
    accuracy: float  # share of the examples on the right side, on neither by halves: of the other answer, or KTO's reference
    chosen: float  # mean implicit reward of preferred or desirable answers
    rejected: float  # the same of the others
    kl_reference: float | None = None  # KTO's, nats
    hits: Tensor | None = None  # (N,) of each example whether it is on the right side: 1, 0, or a half for neither

    @property
    def figures(self) -> dict[str, float]:
        """What is one number, by name."""
        return {name: value for name, value in self._asdict().items() if isinstance(value, float)}


Asked = TypeVar("Asked", Pair, Single, contravariant=True)


class Objective(Protocol[Asked]):
    """What a policy is trained for."""

    def ask(self, examples: Sequence[Asked], learn: bool, check: Callable[[], None]) -> Said:
        """The loss of these examples under the policy as it is; with `learn` its gradients are added to those at hand."""


class DPO:
    """Direct preference optimisation, whole answers or by the token."""

    def __init__(self, ratios: LogRatios, config: PreferenceConfig, pairs: Sequence[Pair]) -> None:
        """`pairs`: those to learn from, whose answers' mean length is the unit of the normalised form."""
        self._ratios, self._config = ratios, config
        self._mean_length = float(ratios.lengths[torch.tensor(pairs).flatten()].mean())

    def ask(self, examples: Sequence[Pair], learn: bool, check: Callable[[], None]) -> Said:
        total, sides, order = 0.0, [], []
        for rows, piece in dealt(_pieces(torch.tensor(examples), self._ratios, budget_of(self._config, texts=2))):  # (n,), (n, 2)
            check()
            with torch.set_grad_enabled(learn):
                chosen, rejected = self._found(piece.T.flatten()).chunk(2)
                loss = dpo_loss(chosen, rejected, self._config.beta, len(examples))
            if learn:
                torch.autograd.backward(loss)
            total += float(loss.detach())
            sides.append(torch.stack([chosen, rejected]).detach())
            order.append(rows)
        chosen, rejected = torch.cat(undealt(sides), 1)[:, torch.cat(undealt(order)).argsort()] * self._config.beta
        hits = correct(chosen - rejected)
        return Said(summed(total), float(hits.mean()), float(chosen.mean()), float(rejected.mean()), hits=hits)

    def _found(self, rows: Tensor) -> Tensor:
        found = self._ratios.of(rows)
        if self._config.method == "dpo":
            return found
        return per_token(found, self._ratios.lengths[rows], self._mean_length)


class KTO:
    """Kahneman-Tversky optimisation: answers judged one by one, against what is gained or lost on answers to other prompts."""

    def __init__(self, ratios: LogRatios, config: PreferenceConfig, singles: Sequence[Single]) -> None:
        """`singles`: those to learn from, by which the two kinds are weighed."""
        self._ratios, self._config = ratios, config
        good = sum(single.desirable for single in singles)
        self._weights = kto_weights(good, len(singles) - good)

    def ask(self, examples: Sequence[Single], learn: bool, check: Callable[[], None]) -> Said:
        kl = self._reference(examples, check)
        total, gains, order = 0.0, [], []
        told = torch.tensor([[single.answer, int(single.desirable)] for single in examples])
        for rows, piece in dealt(_pieces(told, self._ratios, budget_of(self._config), columns=1)):
            check()
            desirable = piece[:, 1] == 1
            with torch.set_grad_enabled(learn):
                found = self._ratios.of(piece[:, 0])
                loss = kto_loss(found, desirable, kl, self._config.beta, self._weights, len(examples))
            if learn:
                torch.autograd.backward(loss)
            total += float(loss.detach())
            gains.append(found.detach())
            order.append(rows)
        gain, good = torch.cat(undealt(gains))[torch.cat(undealt(order)).argsort()], told[:, 1] == 1
        hits = correct(torch.where(good, gain - kl, kl - gain))
        rewards = self._config.beta * gain
        said = float(hits.mean()), float(rewards[good].mean()), float(rewards[~good].mean()), float(kl)
        return Said(summed(total), *said, hits)

    def _reference(self, examples: Sequence[Single], check: Callable[[], None]) -> Tensor:
        found = []
        with torch.no_grad():
            strangers = torch.tensor([[single.stranger] for single in examples])
            for _rows, piece in dealt(_pieces(strangers, self._ratios, budget_of(self._config))):
                check()
                found.append(self._ratios.of(piece[:, 0]))
        return kto_reference(torch.cat(undealt(found)))


def budget_of(config: PreferenceConfig, texts: int = 1) -> Budget:
    """What one forward and backward pass may hold of examples of so many texts each."""
    return Budget(config.microbatch // texts, config.microbatch_tokens // texts)


def _pieces(examples: Tensor, ratios: LogRatios, budget: Budget, columns: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Examples (N, c), whose first `columns` name texts, a slice at a time: their places (n,), and they (n, c)."""
    for rows in slices(ratios.tokens[examples[:, :columns]].amax(1), budget):
        yield rows, examples[rows]
