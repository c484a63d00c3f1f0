"""Any transformers model through its own forward: padded, in rows of one length, or without any memory of what it read.

Which of them is right for a model is found in `ways`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.lm.backbone import Backbone
from trainer.lm.decoders.decoder import pad_left
from trainer.lm.forward import own_forward

MEMORIES = ("past_key_values", "cache_params", "state", "past_buckets_states")  # what transformers calls what a model remembers


class NoMemory(Exception):
    """The model returns nothing that its next step could go on from."""


class PlainDecoder:
    """Prompts padded on the left, positions from the mask, a memory that can drop rows."""

    def __init__(self, backbone: Backbone) -> None:
        self.model, self.device = backbone.plain, backbone.device
        self.seen: dict[int, Tensor] = {}
        self.seen_prefix: dict[int, Tensor] = {}

    def start(self, prompt_ids: Sequence[Sequence[int]], room: int) -> Tensor:
        ids, self.mask = pad_left(prompt_ids, self.device)
        return self._forward(ids, (self.mask.cumsum(1) - 1).clamp(min=0), {})

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._forward(tokens[:, None], self.mask.sum(1, keepdim=True) - 1, self.memory)

    def keep(self, rows: list[int]) -> None:
        index = torch.tensor(rows, device=self.device)
        self.mask = self.mask[index]
        for memory in self.memory.values():
            memory.reorder_cache(index)

    def _forward(self, ids: Tensor, positions: Tensor, memory: dict[str, Any]) -> Tensor:
        logits, self.memory = _forward(self.model, memory, input_ids=ids, attention_mask=self.mask, position_ids=positions)
        return logits


@dataclass
class _Level:
    """Rows of one length: no padding, so nothing that a mask could forget."""

    ids: Tensor  # (n, L) all tokens so far
    memory: dict[str, Any]


class LevelDecoder:
    """Rows of equal length together, each length on its own. A row that is done stays in its group's memory, unseen, for not
    every memory can drop one; once its last row is done a group rests.
    """

    def __init__(self, backbone: Backbone, most: int | None = None, remembers: bool = True) -> None:
        self.model, self.device = backbone.plain, backbone.device
        self.most = most  # rows together; None: all of a length
        self.remembers = remembers  # without memory all is read again at each token
        self.seen: dict[int, Tensor] = {}
        self.seen_prefix: dict[int, Tensor] = {}

    def start(self, prompt_ids: Sequence[Sequence[int]], room: int) -> Tensor:
        self.levels: list[_Level] = []
        self.rows: list[tuple[int, int]] = [(0, 0)] * len(prompt_ids)  # of each live row: its level, and its place there
        found: list[Tensor] = [torch.empty(0)] * len(prompt_ids)
        for rows in self._grouped(prompt_ids):
            level = _Level(torch.tensor([list(prompt_ids[row]) for row in rows], device=self.device), {})
            for place, (row, logits) in enumerate(zip(rows, self._read(level, level.ids), strict=True)):
                self.rows[row], found[row] = (len(self.levels), place), logits
            self.levels.append(level)
        return torch.stack(found)

    def step(self, tokens: Tensor) -> Tensor:
        added = {at: torch.zeros(len(self.levels[at].ids), 1, dtype=torch.long, device=self.device) for at, _ in self.rows}
        for (at, place), token in zip(self.rows, tokens, strict=True):
            added[at][place] = token
        logits = {}
        for at, newest in added.items():
            self.levels[at].ids = torch.cat([self.levels[at].ids, newest], 1)
            logits[at] = self._read(self.levels[at], newest)
        return torch.stack([logits[at][place] for at, place in self.rows])

    def keep(self, rows: list[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def _grouped(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        by_length: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompt_ids):
            by_length.setdefault(len(prompt), []).append(row)
        most = self.most or len(prompt_ids)
        return [rows[start : start + most] for rows in by_length.values() for start in range(0, len(rows), most)]

    def _read(self, level: _Level, newest: Tensor) -> Tensor:
        if not self.remembers:
            logits: Tensor = own_forward(self.model, input_ids=level.ids, use_cache=False, logits_to_keep=1).logits[:, -1].float()
            return logits
        count, width = level.ids.shape[1], newest.shape[1]
        positions = torch.arange(count - width, count, device=self.device).expand(len(newest), -1)
        logits, level.memory = _forward(self.model, level.memory, input_ids=newest, position_ids=positions)
        return logits


def _forward(model: Any, memory: dict[str, Any], **given: Any) -> tuple[Tensor, dict[str, Any]]:
    """(n, V) float32 logits after the last token, and what the model remembers, by the name it wants it under."""
    out = own_forward(model, **given, **memory, use_cache=True, logits_to_keep=1)
    remembered = {name: out[name] for name in MEMORIES if out.get(name) is not None}
    if not remembered:
        raise NoMemory(type(model).__name__)
    return out.logits[:, -1].float(), remembered
