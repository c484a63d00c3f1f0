"""Log-ratios of given answers: under the policy as it is now, less under the reference, which is asked once.

The layers under the adapters, which no training moves, run once per text as well, and what comes out of them is kept where there
is room: a run of several epochs then computes little but the layers that learn. Knows no loss and no label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.lm.backbone import Backbone, reference
from trainer.lm.forward import Packed, has_trunk, pack, response_logprobs, with_trunk
from trainer.preference.data import Text

MOST_RECORDED = 2 * 2**30  # bytes of the trunk's states; past it they are computed each time


class LogRatios:
    """`log pi(y|x) - log q(y|x)` of texts, named by their indices."""

    def __init__(
        self,
        backbone: Backbone,
        texts: Sequence[Text],
        temperature: float,  # divides the logits under both
        size: int,  # texts in one pass
        check: Callable[[], None],
        said: Callable[[int], None],  # is told how many texts the reference has read
    ) -> None:
        """Reads every text once. Raises FloatingPointError where the reference's numbers are not finite."""
        self._backbone, self._temperature = backbone, temperature
        self._packed = pack([text.prompt_ids for text in texts], [text.response_ids for text in texts])
        self._states: list[Tensor] | None = self._room()
        self.lengths = self._packed.response_lengths.float()  # (N,) tokens of the answers
        self.tokens = self._packed.lengths  # (N,) of prompt and answer
        self.reference = torch.zeros(len(texts))  # (N,) nats
        order = self.tokens.argsort(descending=True, stable=True)
        for done, part in enumerate(torch.split(order, size)):
            check()
            self._read(part)
            said(min((done + 1) * size, len(texts)))
        if not bool(torch.isfinite(self.reference).all()):
            raise FloatingPointError("the reference's log-probabilities are not finite")

    def of(self, rows: Tensor) -> Tensor:
        """(n,) nats of the texts `rows` (n,), with gradient where the caller wants one."""
        found = response_logprobs(self._backbone, self._rows(rows), self._temperature).logprobs.sum(1)
        return found - self.reference[rows]

    def _room(self) -> list[Tensor] | None:
        """Places for the trunk's states; None where there is no trunk, or they would take too much memory."""
        if not has_trunk(self._backbone):
            return None
        embedding = self._backbone.plain.get_input_embeddings().weight
        tokens = int(self._packed.lengths.sum())
        fits = tokens * embedding.shape[1] * embedding.element_size() <= MOST_RECORDED
        return [torch.empty(0)] * len(self._packed.ids) if fits else None

    @torch.no_grad()
    def _read(self, part: Tensor) -> None:
        rows = self._packed.rows(part)
        if self._states is not None:
            rows = with_trunk(self._backbone, rows)
            assert rows.states is not None
            for row, index in enumerate(part.tolist()):
                self._states[index] = rows.states[row, : int(rows.lengths[row])].clone()
            self._packed = replace(self._packed, prefix_states=rows.prefix_states)
        with reference(self._backbone):
            self.reference[part] = response_logprobs(self._backbone, rows, self._temperature).logprobs.sum(1)

    def _rows(self, index: Tensor) -> Packed:
        rows = self._packed.rows(index)
        rows = replace(rows, width=int(rows.response_lengths.max()))
        if self._states is None:
            return rows
        return replace(rows, states=nn.utils.rnn.pad_sequence([self._states[at] for at in index.tolist()], batch_first=True))
