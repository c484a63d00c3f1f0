"""What a decoder is: the state of a batch of answers being written, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Decoder(Protocol):
    """A batch in the making. All logits are (n, V) float32, those that choose each row's next token."""

    seen: dict[int, Tensor]  # of each watched layer: its input at the tokens read last
    seen_prefix: dict[int, Tensor]  # the same, (1, S, D), of the prefix that all prompts of the batch share; empty if none

    def start(self, prompt_ids: Sequence[Sequence[int]], room: int) -> Tensor:
        """Read the prompts, leaving room for `room` tokens of answer."""

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token (n,) to each row."""

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order."""


def pad_left(prompt_ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, P) ids and (B, P) mask, 1 on real tokens; the padding's ids mean nothing."""
    width = max(map(len, prompt_ids))
    ids = torch.zeros(len(prompt_ids), width, dtype=torch.long)
    mask = torch.zeros(len(prompt_ids), width, dtype=torch.long)
    for row, prompt in enumerate(prompt_ids):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
