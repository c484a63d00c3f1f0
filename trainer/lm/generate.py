"""Write answers: pure sampling from the policy, batched.

Nothing but the temperature shapes the distribution: no top-k, no top-p, no penalty, nothing from the checkpoint's own
settings. The end-of-answer token is an action like any other and is kept; no token is added that was not drawn.
This file knows no reward and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trainer.contract.memory.forecast import WRITTEN_TOKENS
from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone, BackboneError, context_length, eos_ids
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.recorded_states import RecordedStates

BLOCK = 256  # tokens whose probabilities are summed first, then searched


@dataclass(frozen=True)
class Generated:
    """One answer: its token ids, the end-of-answer token included when it was drawn."""

    ids: list[int]
    finish_reason: Literal["eos", "length"]
    # Nats, of each token under the very distribution that it was drawn from; None where nobody kept them. Rounding alone may tell
    # one from another's, so that answers are the same when their tokens are.
    logprobs: list[float] | None = field(default=None, compare=False)


def generate(
    backbone: Backbone,
    prompt_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | Sequence[torch.Generator] | Tensor,
    batch_size: int,
    check: Callable[[], None] | None = None,
    on_done: Callable[[int, Generated], None] | None = None,
    recording: RecordedStates | None = None,
) -> list[Generated]:
    """Answer every prompt, drawing each token from softmax(logits / temperature); temperature 0 takes the likeliest.

    Which random numbers a row gets depends on its place in `prompt_ids` alone (or on its own generator, when there is one for
    each; or they are given as they are, by `uniform_draws`), so neither batch size nor the other rows change an answer beyond
    rounding. `check` runs before every step and may
    raise to stop; `on_done(index, answer)` is called when a row ends. With a `recording` (Llama-like models only) every row
    also reads its last token, and what its layers saw is there before `on_done`. Raises BackboneError when a prompt and its
    answer do not fit the model's context, FloatingPointError when the logits are not finite.
    """
    _must_fit(backbone, prompt_ids, max_new_tokens)
    if isinstance(generator, torch.Generator):
        draws = uniform_draws(len(prompt_ids), max_new_tokens, generator)
    elif isinstance(generator, Tensor):
        draws = generator
    else:
        draws = torch.stack([torch.rand(max_new_tokens, generator=own, dtype=torch.float64) for own in generator])
    ends = eos_ids(backbone)
    answers: list[Generated | None] = [None] * len(prompt_ids)
    by_length = sorted(range(len(prompt_ids)), key=lambda index: len(prompt_ids[index]))
    with torch.no_grad():
        decoder = make_decoder(backbone, recording.layers if recording else ())
        while by_length:
            longest = len(prompt_ids[by_length[-1]]) + max_new_tokens
            size = max(1, min(batch_size, WRITTEN_TOKENS // longest))
            live, by_length = by_length[:size], by_length[size:]
            written: dict[int, list[int]] = {index: [] for index in live}
            said: dict[int, list[float]] = {index: [] for index in live}
            if check is not None:
                check()
            logits = decoder.start([prompt_ids[index] for index in live], max_new_tokens)
            if recording is not None:
                recording.begin(live, [prompt_ids[index] for index in live], decoder)
            while live:
                if check is not None:
                    check()
                at = len(written[live[0]])
                tokens, logprobs = draw(logits, temperature, draws[live, at].to(logits.device))
                for index, token, logprob in zip(live, tokens.tolist(), logprobs.tolist(), strict=True):
                    written[index].append(token)
                    said[index].append(logprob)
                done = [row for row, index in enumerate(live) if written[index][-1] in ends or at + 1 == max_new_tokens]
                if recording is not None:
                    logits = decoder.step(tokens)
                    recording.take(live, decoder)
                for index in (live[row] for row in done):
                    reason: Literal["eos", "length"] = "eos" if written[index][-1] in ends else "length"
                    answers[index] = answer = Generated(written[index], reason, said[index])
                    if on_done is not None:
                        on_done(index, answer)
                if done:
                    kept = fill_holes(len(live), done)
                    live, tokens = [live[row] for row in kept], tokens[kept]
                    if live:
                        decoder.keep(kept)
                        logits = logits[kept]
                if live and recording is None:
                    logits = decoder.step(tokens)
    return [answer for answer in answers if answer is not None]


def uniform_draws(answers: int, max_new_tokens: int, generator: torch.Generator) -> Tensor:
    """(answers, max_new_tokens) float64 in [0, 1): a number for each token of each answer."""
    return torch.rand(answers, max_new_tokens, generator=generator, dtype=torch.float64)


def draw(logits: Tensor, temperature: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids (n,) where the cumulative softmax(logits / temperature) of each row passes its number in [0, 1), and the
    log-probability (n,) float64 with which each was drawn, in nats: 0 at temperature 0.

    logits (n, V) float32, uniform (n,) float64. An inverse-CDF draw in two levels, twenty times as fast as torch.multinomial.
    Raises FloatingPointError when a row's logits are not finite.
    """
    largest = logits.amax(-1, keepdim=True)  # NaN where any logit is
    if not bool(torch.isfinite(largest).all()):
        raise FloatingPointError("the policy's logits are not finite")
    if temperature == 0:
        return logits.argmax(-1), torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
    p = (logits - largest).div_(temperature).exp_()
    if p.shape[1] % BLOCK:
        p = torch.nn.functional.pad(p, (0, BLOCK - p.shape[1] % BLOCK))
    blocks = p.view(len(p), -1, BLOCK)
    outer = blocks.sum(-1).double().cumsum(-1)  # (n, V / BLOCK)
    total = outer[:, -1]  # finite, as the largest logit is
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))[:, None]
    block = torch.searchsorted(outer, target, right=True)
    before = torch.where(block > 0, outer.gather(1, (block - 1).clamp(min=0)), 0.0)
    inner = blocks[torch.arange(len(p), device=p.device), block.squeeze(1)].double().cumsum(-1)  # (n, BLOCK)
    # Rounding may leave the rest at or past the block's own sum; then its last token with any probability is meant.
    rest = torch.minimum(target - before, torch.nextafter(inner[:, -1:], torch.zeros_like(target)))
    tokens = block * BLOCK + torch.searchsorted(inner, rest, right=True)  # (n, 1)
    return tokens.squeeze(1), (p.gather(1, tokens).squeeze(1).double() / total).log()


def fill_holes(count: int, done: list[int]) -> list[int]:
    """Which row each place holds once `done` are gone: the last ones move into the holes, so that few rows are copied."""
    gone = set(done)
    spare = [row for row in range(count) if row not in gone and row >= count - len(done)]
    return [spare.pop() if row in gone else row for row in range(count - len(done))]


def _must_fit(backbone: Backbone, prompt_ids: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    if not all(prompt_ids):
        raise ValueError("a prompt needs at least one token")
    context = context_length(backbone)
    longest = max(map(len, prompt_ids), default=0)
    if context is not None and longest + max_new_tokens > context:
        raise BackboneError(Message("context_too_short", prompt=longest, answer=max_new_tokens, context=context))
