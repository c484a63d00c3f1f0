"""Log-ratios of given answers: under the policy as it is now, less under the reference, which is asked once.

A run of several epochs computes little but the layers that learn (`ReadAgain`). Knows no loss and no label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.lm.backbone import Backbone, reference
from trainer.lm.forward import ReadAgain, response_logprobs
from trainer.lm.machine import processes
from trainer.lm.machine.processes import dealt, united
from trainer.lm.slices import Budget, slices
from trainer.preference.data import Text


class LogRatios:
    """`log pi(y|x) - log q(y|x)` of texts, named by their indices."""

    def __init__(
        self,
        backbone: Backbone,
        texts: Sequence[Text],
        temperature: float,  # divides the logits under both
        budget: Budget,  # of one pass
        check: Callable[[], None],
        said: Callable[[int], None],  # is told how many texts the reference has read
    ) -> None:
        """Reads every text once. Raises FloatingPointError where the reference's numbers are not finite."""
        self._backbone, self._temperature = backbone, temperature
        self._texts = ReadAgain(backbone, [text.prompt_ids for text in texts], [text.response_ids for text in texts])
        self.lengths = self._texts.response_lengths.float()  # (N,) tokens of the answers
        self.tokens = self._texts.lengths  # (N,) of prompt and answer
        self.reference = torch.zeros(len(texts))  # (N,) nats
        done = 0
        for part in dealt(slices(self.tokens, budget)):
            check()
            self._read(part)
            done += len(part)
            said(min(done * processes.place()[1], len(texts)))
        self.reference = united(self.reference)
        if not bool(torch.isfinite(self.reference).all()):
            raise FloatingPointError("the reference's log-probabilities are not finite")

    def of(self, rows: Tensor) -> Tensor:
        """(n,) nats of the texts `rows` (n,), with gradient where the caller wants one."""
        found = response_logprobs(self._backbone, self._texts.rows(rows), self._temperature).logprobs.sum(1)
        return found - self.reference[rows]

    @torch.no_grad()
    def _read(self, part: Tensor) -> None:
        rows = self._texts.first(part)
        with reference(self._backbone):
            self.reference[part] = response_logprobs(self._backbone, rows, self._temperature).logprobs.sum(1)
