"""Answers that are written together, each with its own temperature, length and random numbers, and told of token by token.

Each row is drawn as `trainer.lm.generate` would draw it: beside whatever it is written, its answer is the same but for rounding.
Knows a decoder; neither text nor clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trainer.lm.decoders.decoder import Decoder
from trainer.lm.generate import draw, fill_holes


@dataclass(eq=False)
class Row:
    """One answer."""

    prompt_ids: list[int]
    max_tokens: int
    temperature: float  # 0 takes the likeliest
    top_p: float
    seed: int
    on_token: Callable[[int], None]
    on_end: Callable[[Literal["eos", "length"], int], None]  # why, and after how many tokens
    gone: Callable[[], bool]  # nobody listens any more
    written: int = 0
    draws: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.draws = torch.rand(self.max_tokens, generator=generator, dtype=torch.float64).tolist()


@torch.no_grad()
def write(decoder: Decoder, rows: Sequence[Row], ends: set[int]) -> Iterator[None]:
    """Write all rows to their ends, a token of each at a time: whoever asks for the next may do something else in between.

    Raises FloatingPointError where the logits are not finite.
    """
    live = list(rows)
    logits = decoder.start([row.prompt_ids for row in live], max(row.max_tokens for row in live))
    while live:
        yield
        tokens = _draw(logits, live)
        done = [place for place, (row, token) in enumerate(zip(live, tokens.tolist(), strict=True)) if _ended(row, token, ends)]
        if done:
            kept = fill_holes(len(live), done)
            live, tokens = [live[place] for place in kept], tokens[kept]
            if live:
                decoder.keep(kept)
        if live:
            logits = decoder.step(tokens)


def _ended(row: Row, token: int, ends: set[int]) -> bool:
    """Whether this was the row's last token; it is told of either way."""
    if row.gone():
        return True
    row.written += 1
    row.on_token(token)
    if token not in ends and row.written < row.max_tokens:
        return False
    row.on_end("eos" if token in ends else "length", row.written)
    return True


def _draw(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """(n,) a token for each row of logits (n, V); rows of one temperature are drawn together."""
    logits = torch.stack([_nucleus(own, row) if row.top_p < 1 else own for own, row in zip(logits, rows, strict=True)])
    tokens = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    for temperature in {row.temperature for row in rows}:
        places = [place for place, row in enumerate(rows) if row.temperature == temperature]
        uniform = torch.tensor([rows[place].draws[rows[place].written] for place in places], dtype=torch.float64)
        tokens[places], _ = draw(logits[places], temperature, uniform.to(logits.device))
    return tokens


def _nucleus(logits: Tensor, row: Row) -> Tensor:
    """Logits (V,), those outside of the smallest set of tokens that holds `top_p` of the probability at -inf.

    Holtzman et al. 2020, arXiv:1904.09751, section 3.1. At temperature 0 the likeliest is taken either way.
    """
    ordered, order = (logits / (row.temperature or 1.0)).softmax(-1).sort(descending=True)
    outside = ordered.cumsum(-1) - ordered >= row.top_p  # what comes before it is enough already
    return logits.index_fill(0, order[outside], -torch.inf)
