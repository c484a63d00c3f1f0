"""What the layers saw while answers were written, so that no second pass need compute it again. Knows no model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Watched(Protocol):
    """A decoder with layers under watch; see `trainer.lm.decoders.decoder.Decoder`."""

    seen: dict[int, Tensor]
    seen_prefix: dict[int, Tensor]


class RecordedStates:
    """`hidden_states` of some layers while answers are written: what another pass over them would only compute again."""

    def __init__(self, layers: Collection[int]) -> None:
        self.layers = frozenset(layers)
        self._parts: dict[int, dict[int, list[Tensor]]] = {layer: {} for layer in self.layers}

    def begin(self, rows: Sequence[int], prompt_ids: Sequence[Sequence[int]], decoder: Watched) -> None:
        """Take what the decoder saw of the prompts of these answers."""
        for layer in self.layers:
            before, seen = decoder.seen_prefix.get(layer), decoder.seen[layer]
            for row, (index, prompt) in enumerate(zip(rows, prompt_ids, strict=True)):
                shared = 0 if before is None else before.shape[1]
                own = seen[row, seen.shape[1] - (len(prompt) - shared) :]
                self._parts[layer][index] = [own] if before is None else [before[0], own]

    def take(self, rows: Sequence[int], decoder: Watched) -> None:
        """Take what the decoder saw of the newest token of each of these answers."""
        for layer in self.layers:
            for index, state in zip(rows, decoder.seen[layer], strict=True):
                self._parts[layer][index].append(state)

    def states(self, layer: int, index: int) -> Tensor:
        """(tokens, D) of one answer, its prompt's tokens first."""
        return torch.cat(self._parts[layer][index])
