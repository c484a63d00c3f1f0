"""A next-token term beside another loss: what people wrote themselves, not to be unlearned while a policy seeks something else.

Beside PPO: Ouyang et al. 2022, arXiv:2203.02155, eq. 2 ("PPO-ptx"); beside preferences: Pang et al. 2024, arXiv:2404.19733,
eq. 1. The loss is an sft run's. Knows no reward, no label and no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Listed

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig, PreferenceConfig
from trainer.contract.folder import Refused, RunFolder
from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone, context_length
from trainer.lm.forward import ReadAgain, response_logprobs
from trainer.lm.left_out import LeftOut
from trainer.lm.machine.processes import dealt, summed
from trainer.lm.slices import Budget, slices
from trainer.sft.documents import Demonstration, Sequence, conversations, encode

TEMPERATURE = 1.0  # an sft run's, whatever the answers are drawn at: what is learned is the model, not how it is sampled


class Demonstrations:
    """Demonstrations as they are learned from, some at each step; the trunk reads each once."""

    def __init__(
        self,
        backbone: Backbone,
        sequences: Listed[Sequence],  # at least one
        *,
        per_step: int,  # demonstrations of an optimiser step; all where there are fewer
        budget: Budget,  # of one forward and backward pass
        seed: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._backbone, self._budget, self._seed = backbone, budget, seed
        self._texts = ReadAgain(
            backbone, [one.ids[: one.first] for one in sequences], [one.ids[one.first :] for one in sequences]
        )
        self._cut = sum(one.cut for one in sequences)
        self._per_step = min(per_step, len(sequences))
        with torch.no_grad():
            for part in dealt(self._pieces(torch.arange(len(sequences)))):
                check()
                self._texts.first(part)

    @property
    def figures(self) -> dict[str, int]:
        """For result.json: how many demonstrations there are, and how many of them are cut."""
        return {"demonstrations": len(self._texts.lengths), "cut_demonstrations": self._cut}

    def batch(self, step: int) -> Tensor:
        """(per step,) the demonstrations of a step: each once, in an order of the seed, before any comes again.

        Follows from the step alone, so that a run that was stopped need remember nothing else.
        """
        count = len(self._texts.lengths)
        first = step * self._per_step
        orders = {epoch: self._order(epoch) for epoch in {first // count, (first + self._per_step - 1) // count}}
        return torch.stack([orders[at // count][at % count] for at in range(first, first + self._per_step)])

    def learn(self, step: int, weight: float, check: Callable[[], None]) -> float:
        """Add the gradients of `weight` times the loss of this step to those at hand; returns the loss, in nats per token."""
        batch, total = self.batch(step), 0.0
        tokens = int(self._texts.response_lengths[batch].sum())
        for piece in dealt(self._pieces(batch)):
            check()
            loss = self._nll(piece) / tokens
            torch.autograd.backward(weight * loss)
            total += float(loss.detach())
        return summed(total)

    @torch.no_grad()
    def loss(self) -> float:
        """Mean negative log-likelihood of a token of all demonstrations under the policy as it is, in nats."""
        every = torch.arange(len(self._texts.lengths))
        total = sum(float(self._nll(piece)) for piece in dealt(self._pieces(every)))
        return summed(total) / int(self._texts.response_lengths.sum())

    def _nll(self, rows: Tensor) -> Tensor:
        return -response_logprobs(self._backbone, self._texts.rows(rows), TEMPERATURE).logprobs.sum()

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return torch.randperm(len(self._texts.lengths), generator=generator)

    def _pieces(self, rows: Tensor) -> Iterator[Tensor]:
        return (rows[part] for part in slices(self._texts.lengths[rows], self._budget))


def read_demonstrations(
    folder: RunFolder,
    config: PPOConfig | PreferenceConfig,
    backbone: Backbone,
    per_step: int,
    left_out: LeftOut,  # is told which do not fit
    held_out: Callable[[Listed[dict[str, str]]], bool] = lambda _turns: False,  # whether nothing is learned about this prompt
) -> Demonstrations | None:
    """What the run's folder has; None where the run does not ask for it. Raises Refused where it does and there is none.

    A demonstration may be as long as a prompt and an answer of the run together.
    """
    if not config.ptx_weight:
        return None
    found = [one for one in conversations(folder) if not any(map(held_out, _prompts(one)))]
    block = min(config.max_prompt_tokens + config.max_new_tokens, context_length(backbone) or 2**31)
    sequences = encode(backbone, list(found), block, left_out)
    if not sequences:
        raise Refused(left_out.why(Message("no_demonstration", setting=f"{folder.kind}.ptx_weight")), left_out.figures)
    budget = Budget(config.microbatch, config.microbatch_tokens)
    return Demonstrations(backbone, sequences, per_step=per_step, budget=budget, seed=config.seed, check=folder.check)


def _prompts(demonstration: Demonstration) -> Iterator[list[dict[str, str]]]:
    """What each of its answers was given to."""
    turns = demonstration.turns
    return (turns[:at] for at, turn in enumerate(turns) if turn["role"] == "assistant")
