"""Rows of token sequences for next-token training: packed where no sequence can see its neighbour, else grouped by length.

Several sequences share a row when the model keeps them apart: positions start again at 0 with each, from which transformers
makes a block-diagonal causal mask. Whether a model does is asked of the model itself (`keeps_apart`), because a recurrent state
or an architecture that ignores positions would let one text leak into the next. Knows no optimiser and no file.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.lm.backbone import Backbone, layers_run
from trainer.lm.forward import llama_like, own_forward
from trainer.lm.lm_head import token_logprobs
from trainer.lm.machine.processes import dealt, summed
from trainer.sft.documents import Sequence

Row = list[Sequence]

LOOK_TOKENS = 2048  # padded, in one pass without gradients
SHUFFLED_BATCHES = 50  # over which rows are sorted by length: random enough to learn from, alike enough to waste little
SAME = 1e-2  # of what the first text changes where nothing keeps them apart; rounding is far under that, a leak is all of it
IGNORED = -100


def pack(sequences: list[Sequence], block: int) -> list[Row]:
    """Rows of at most `block` tokens: the longest sequence first, each into the fullest row that still takes it."""
    rows: list[Row] = []
    spaces: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for sequence in sorted(sequences, key=lambda sequence: -len(sequence.ids)):
        at = bisect_left(spaces, (len(sequence.ids), -1))
        if at == len(spaces):
            rows.append([sequence])
            space, row = block - len(sequence.ids), len(rows) - 1
        else:
            space, row = spaces.pop(at)
            rows[row].append(sequence)
            space -= len(sequence.ids)
        if space > 1:
            insort(spaces, (space, row))
    return rows


def epoch_batches(rows: list[Row], batch_size: int, generator: torch.Generator, by_length: bool) -> list[list[int]]:
    """The batches of one pass over the rows, as indices, in random order; `by_length` puts rows of like length together."""
    order = torch.randperm(len(rows), generator=generator).tolist()
    if by_length:
        window = SHUFFLED_BATCHES * batch_size
        order = [
            index
            for start in range(0, len(order), window)
            for index in sorted(order[start : start + window], key=lambda index: row_length(rows[index]))
        ]
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    if by_length:
        batches = [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
    return batches


def row_length(row: Row) -> int:
    return sum(len(sequence.ids) for sequence in row)


def predicted(rows: list[Row]) -> int:
    """How many tokens of these rows are to be predicted."""
    return sum(len(sequence.ids) - sequence.first for row in rows for sequence in row)


def passes(rows: list[Row], tokens: int) -> Iterator[list[Row]]:
    """The rows in parts of at most so many padded tokens (one row at least), in their order."""
    part: list[Row] = []
    for row in rows:
        if part and max(map(row_length, [*part, row])) * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def loss_sum(model: Backbone, rows: list[Row], packed: bool) -> Tensor:
    """The summed negative log-likelihood, in nats, of the tokens to be predicted."""
    ids, positions, wanted = (each.to(model.device) for each in _tensors(rows))
    chosen = wanted[:, 1:] != IGNORED
    targets = wanted[:, 1:][chosen]
    if llama_like(model) and packed:  # states only: the vocabulary's logits are made slice by slice
        with layers_run(model):
            states = model.plain.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        return -token_logprobs(model, states[:, :-1][chosen], targets, 1.0)[0].sum()
    logits = _logits(model, ids, positions, packed)
    return F.cross_entropy(logits[:, :-1][chosen].float(), targets, reduction="sum")


@torch.no_grad()
def mean_loss(model: Backbone, rows: list[Row], packed: bool) -> float:
    """Mean negative log-likelihood per predicted token, in nats."""
    total = sum(float(loss_sum(model, part, packed)) for part in dealt(passes(sorted(rows, key=row_length), LOOK_TOKENS)))
    return summed(total) / max(predicted(rows), 1)


@torch.no_grad()
def keeps_apart(model: Backbone) -> bool:
    """Whether two short texts in one row have the logits that each has alone. A few passes over a dozen tokens."""
    draw = torch.Generator().manual_seed(0)
    rows = model.plain.get_input_embeddings().weight.shape[0]
    texts = [Sequence(torch.randint(rows, (n,), generator=draw).tolist(), 1) for n in (5, 7)]
    alone = torch.cat([_logits(model, *_tensors([[text]])[:2], packed=False) for text in texts], 1)
    as_one = _logits(model, *_tensors([texts])[:2], packed=False)
    try:
        together = _logits(model, *_tensors([texts])[:2], packed=True)
    except (TypeError, ValueError, RuntimeError, IndexError):  # its own code, at positions that start again
        return False
    return float((together - alone).abs().max()) <= SAME * float((as_one - alone).abs().max())


def _logits(model: Backbone, ids: Tensor, positions: Tensor, packed: bool) -> Tensor:
    """(B, L, V) logits at every position."""
    places = {"position_ids": positions} if packed else {}  # no mask: padding comes after everything that is predicted
    with layers_run(model):
        found: Tensor = own_forward(model.plain, input_ids=ids, use_cache=False, **places).logits
    return found


def _tensors(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions within each sequence, and the tokens to be predicted (IGNORED elsewhere), all (B, L)."""
    width = max(map(row_length, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    wanted = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        start = 0
        for sequence in row:
            stop = start + len(sequence.ids)
            ids[index, start:stop] = torch.tensor(sequence.ids)
            positions[index, start:stop] = torch.arange(stop - start)
            wanted[index, start + sequence.first : stop] = ids[index, start + sequence.first : stop]
            start = stop
        positions[index, start:] = torch.arange(width - start)  # padding is one more text, which nothing else sees
    return ids, positions, wanted
