"""Texts read together, nothing computed twice, no padding: a tree of their tokens, in which a shared beginning stands once.

Answers to one prompt share it, and all prompts of a chat share how it opens. The tree's tokens lie end to end in one row; every
product of a layer runs over that row, and attention lets each branch see itself and what it grew from. For models whose layers
can be run one by one. Knows no answer and no reward.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from trainer.lm.backbone import Backbone
from trainer.lm.machine.device import HOST
from trainer.lm.machine.recompute import recomputed

ATTENTION = "tastemaker_prefix_tree"  # the name that transformers knows it by
LEAST_SHARED = 8  # tokens of a branch in common; one costs each layer another call, about as much as a few tokens do


class Branch(NamedTuple):
    """A run of tokens that all sequences beyond it share."""

    own: slice  # its places in the row
    seen: Tensor  # (n + m,) long, the places it attends to: those it grew from, in order, then its own
    mask: Tensor | None  # (m, n + m) bool, True where a token sees another; None at a root, where causality says it


class PrefixTree:
    """Token sequences as a tree; N tokens in all."""

    def __init__(self, sequences: Sequence[Sequence[int]], device: torch.device = HOST) -> None:
        """Raises ValueError on a sequence without tokens."""
        if not all(sequences):
            raise ValueError("every sequence needs a token")
        self._device = device
        self.branches: list[Branch] = []
        self.paths: list[Tensor] = [torch.empty(0)] * len(sequences)  # of each sequence, where its tokens stand in the row
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._sequences = [tuple(sequence) for sequence in sequences]
        self._grow(reading_order(self._sequences), 0, torch.empty(0, dtype=torch.long, device=device))
        self.ids, self.positions = (torch.tensor(each, device=device) for each in (self._ids, self._positions))  # (N,) each

    def _grow(self, rows: list[int], depth: int, path: Tensor) -> None:
        """Branches for sequences, sorted, that share their first `depth` tokens, which stand at `path`."""
        while rows:
            first = self._sequences[rows[0]]
            count = 1
            while count < len(rows) and self._together(first, self._sequences[rows[count]], depth):
                count += 1
            group, rows = rows[:count], rows[count:]
            end = shared(first, self._sequences[group[-1]])  # of sorted sequences, all between share as much
            here = torch.cat([path, self._branch(first, depth, end, path)])
            done = [row for row in group if len(self._sequences[row]) == end]
            for row in done:
                self.paths[row] = here
            self._grow(group[len(done) :], end, here)

    def _together(self, first: tuple[int, ...], other: tuple[int, ...], depth: int) -> bool:
        """Whether two sequences are worth a branch in common beyond `depth`; the same sequence twice always is."""
        return first == other or shared(first, other) >= depth + LEAST_SHARED

    def _branch(self, sequence: tuple[int, ...], depth: int, end: int, path: Tensor) -> Tensor:
        """Add the tokens depth..end-1; returns where they stand."""
        start, count = len(self._ids), end - depth
        self._ids += sequence[depth:end]
        self._positions += range(depth, end)
        own = torch.arange(start, start + count, device=self._device)
        mask = torch.ones(count, end, dtype=torch.bool, device=self._device).tril_(depth) if depth else None
        self.branches.append(Branch(slice(start, start + count), torch.cat([path, own]), mask))
        return own


def reading_order(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Indices in an order that puts sequences of the same beginning side by side, a beginning before what goes on from it."""
    return sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))


def tree_batches(sequences: Sequence[Sequence[int]], max_tokens: int) -> Iterator[list[int]]:
    """Indices in reading order, in batches whose trees have about `max_tokens` tokens at most (one sequence at least)."""
    batch: list[int] = []
    tokens = 0
    for index in reading_order(sequences):
        fresh = len(sequences[index]) - (shared(sequences[batch[-1]], sequences[index]) if batch else 0)
        if batch and tokens + fresh > max_tokens:
            yield batch
            batch, tokens, fresh = [], 0, len(sequences[index])
        batch.append(index)
        tokens += fresh
    if batch:
        yield batch


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))


def tree_states(backbone: Backbone, tree: PrefixTree, visit: Callable[[int, Tensor], None], top: int | None = None) -> Tensor:
    """(N, D) transformers' `hidden_states[top]`, by default those after the final norm, with gradient from the lowest weights
    that want one. No layer above runs.

    `visit` receives (i, (N, D)) with the input of each layer i, which is `hidden_states[i]`, and last the result.
    """
    decoder = backbone.plain.model
    states = decoder.embed_tokens(tree.ids[None])
    rope = decoder.rotary_emb(states, tree.positions[None])
    layers = decoder.layers[:top]

    def step(layer: nn.Module, states: Tensor) -> Tensor:
        with _attending(backbone):
            out = layer(states, position_embeddings=rope, tree=tree)
        return out if isinstance(out, Tensor) else out[0]

    for index, layer in enumerate(layers):
        visit(index, states[0])
        states = recomputed(step, layer, states) if backbone.recompute else step(layer, states)
    found: Tensor = (decoder.norm(states) if len(layers) == len(decoder.layers) else states)[0]
    visit(len(layers), found)
    return found


@contextlib.contextmanager
def _attending(backbone: Backbone) -> Iterator[None]:
    """Inside, the model's layers attend along a tree."""
    config = backbone.plain.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    _layer: Any, queries: Tensor, keys: Tensor, values: Tensor, _mask: Any, *, scaling: float, tree: PrefixTree, **_others: Any
) -> tuple[Tensor, None]:
    """Queries (1, heads, N, d), keys and values (1, shared heads, N, d) to (1, N, heads, d), each branch on its own."""
    parts = [
        F.scaled_dot_product_attention(
            queries[:, :, branch.own],
            keys[:, :, branch.seen],
            values[:, :, branch.seen],
            attn_mask=branch.mask,
            is_causal=branch.mask is None,
            scale=scaling,
            enable_gqa=keys.shape[1] != queries.shape[1],
        )
        for branch in tree.branches  # in the row's order
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


AttentionInterface.register(ATTENTION, _attend)
