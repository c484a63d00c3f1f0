"""Log-probabilities of given answers: one pass over prompts and answers, logits only where an answer's tokens are chosen.

What makes it fast on a CPU, none of which changes the result: the prefix all prompts share (a system turn) runs once, padding
stands on the right so that causality alone masks it, layers below the adapters are frozen and run once per rollout
(`with_trunk`), and the vocabulary head never holds more than a slice of its logits. Models whose layers are not Llama's take
the plain path through their own forward. This file knows no reward and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.backbone import LLAMA_LIKE, Backbone

HEAD_ROWS = 256  # rows of vocabulary logits held at once

Visit = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Packed:
    """Prompts and answers of B rows, the shared prefix cut off, padded on the right; lengths, never ids, say what is real."""

    prefix: Tensor  # (S,) ids that every prompt begins with; S may be 0
    ids: Tensor  # (B, L) the rest of the prompt, the answer, then padding
    prompt_lengths: Tensor  # (B,) tokens of the rest of the prompt, at least 1
    response_lengths: Tensor  # (B,) tokens of the answer, its EOS included
    width: int  # T: columns of per-token results; kept by `rows`, so that results of parts fit together
    prefix_states: Tensor | None = None  # (1, S, D) residual stream where the trunk ends
    states: Tensor | None = None  # (B, L, D) the same for the rest

    @property
    def mask(self) -> Tensor:
        """(B, T) bool, True on the tokens of the answers."""
        return torch.arange(self.width, device=self.ids.device) < self.response_lengths[:, None]

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of `ids` that are not padding."""
        return self.prompt_lengths + self.response_lengths

    @property
    def answer_positions(self) -> Tensor:
        """(B, L) bool, True in `ids` on the tokens of the answers."""
        at = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (at >= self.prompt_lengths[:, None]) & (at < (self.prompt_lengths + self.response_lengths)[:, None])

    @property
    def choice_positions(self) -> Tensor:
        """(B, L) bool, True where the state before an answer's token stands, from which that token is chosen."""
        at = torch.arange(self.ids.shape[1], device=self.ids.device) + 1
        return (at >= self.prompt_lengths[:, None]) & (at < (self.prompt_lengths + self.response_lengths)[:, None])

    def rows(self, index: Tensor) -> Packed:
        """The rows `index` (N,) names, with no more padding than they need."""
        prompt_lengths, response_lengths = self.prompt_lengths[index], self.response_lengths[index]
        length = int((prompt_lengths + response_lengths).max())
        return replace(
            self,
            ids=self.ids[index, :length],
            prompt_lengths=prompt_lengths,
            response_lengths=response_lengths,
            states=None if self.states is None else self.states[index, :length],
        )


class ResponseLogprobs(NamedTuple):
    """Per token of the answers; 0 outside the mask."""

    logprobs: Tensor  # (B, T) nats, of the tokens that were chosen
    entropy: Tensor  # (B, T) nats, of the distribution each was chosen from; carries a gradient only on request
    mask: Tensor  # (B, T) bool
    states: Tensor  # (B, T, D) the final hidden state before each token, for a value head


def pack(prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]], width: int | None = None) -> Packed:
    """Put prompts and answers (non-empty lists of token ids) into one batch; `width` is T, by default the longest answer."""
    if not prompt_ids or len(prompt_ids) != len(response_ids) or not all(prompt_ids) or not all(response_ids):
        raise ValueError("every row needs a prompt and an answer of at least one token")
    shared = shared_prefix(prompt_ids)
    rows = [[*prompt[shared:], *response] for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return Packed(
        prefix=torch.tensor(list(prompt_ids[0][:shared]), dtype=torch.long),
        ids=ids,
        prompt_lengths=torch.tensor([len(prompt) - shared for prompt in prompt_ids]),
        response_lengths=torch.tensor([len(response) for response in response_ids]),
        width=width or max(map(len, response_ids)),
    )


def shared_prefix(prompt_ids: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all prompts share, leaving each at least one of its own."""
    shortest = min(map(len, prompt_ids))
    first = prompt_ids[0]
    for at in range(shortest - 1):
        if any(prompt[at] != first[at] for prompt in prompt_ids):
            return at
    return shortest - 1


def with_trunk(backbone: Backbone, packed: Packed, visit: Visit | None = None) -> Packed:
    """`packed` with the activations that no training changes: the layers below the first adapter, run once without gradient.

    The same for policy and reference. `visit` receives (i, (B, L, D)) with the input of each layer i that runs here, which is
    transformers' `hidden_states[i]`. Returns `packed` unchanged where the model has no such trunk.
    """
    if not has_trunk(backbone):
        return packed
    with torch.no_grad():
        prefix, rest = _layers(backbone, packed, *_embed(backbone, packed), 0, first_trained_layer(backbone), visit)
    return replace(packed, prefix_states=prefix, states=rest)


def final_states(backbone: Backbone, packed: Packed, visit: Visit | None = None) -> Tensor:
    """(B, L, D) hidden states after the final norm, with gradient where one is wanted; starts from the trunk if it is there.

    `visit` as in `with_trunk`, for the layers that run here; the last index is the result itself.
    """
    if not llama_like(backbone):
        last: Tensor = _plain_pass(backbone, packed, visit).hidden_states[-1]
        return last
    decoder = backbone.plain.model
    if packed.states is None:
        start, prefix, rest = 0, *_embed(backbone, packed)
    else:
        start, prefix, rest = first_trained_layer(backbone), packed.prefix_states, packed.states
    _, rest = _layers(backbone, packed, prefix, rest, start, len(decoder.layers), visit)
    final: Tensor = decoder.norm(rest)
    if visit is not None:
        visit(len(decoder.layers), final)
    return final


def response_logprobs(
    backbone: Backbone, packed: Packed, temperature: float, visit: Visit | None = None, entropy_gradient: bool = False
) -> ResponseLogprobs:
    """Log-probabilities of the answers under the current policy (inside `reference`: the reference's), logits / temperature.

    Runs with or without gradient, as the caller's torch.no_grad() says. Logits are float32.
    """
    chosen = packed.ids[packed.answer_positions]  # (N,) in row order, as are all flat tensors here
    if llama_like(backbone) or backbone.plain.config.model_type == "simple_lm":
        flat = final_states(backbone, packed, visit)[packed.choice_positions]  # (N, D)
        logprobs, entropy = token_logprobs(backbone, flat, chosen, temperature, entropy_gradient)
    else:
        out = _plain_pass(backbone, packed, visit)
        flat = out.hidden_states[-1][packed.choice_positions]
        logprobs, entropy = _from_logits(out.logits[packed.choice_positions].float() / temperature, chosen)
        entropy = entropy if entropy_gradient else entropy.detach()
    mask = packed.mask
    return ResponseLogprobs(spread(logprobs, mask), spread(entropy, mask), mask, spread(flat, mask))


def token_logprobs(
    backbone: Backbone, states: Tensor, chosen: Tensor, temperature: float, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of `chosen` (N,) and entropy of the distribution, both (N,) float32, from final states (N, D)."""
    weight, bias = head(backbone)
    if torch.is_grad_enabled() and (weight.requires_grad or entropy_gradient):
        logprobs, entropy = _from_logits(nn.functional.linear(states.float(), weight, bias) / temperature, chosen)
        return logprobs, entropy if entropy_gradient else entropy.detach()
    logprobs, entropy = _HeadLogprobs.apply(states.float(), weight, bias, chosen, temperature)  # type: ignore[no-untyped-call]
    return logprobs, entropy


def response_distributions(
    backbone: Backbone, packed: Packed, temperature: float, states: Tensor | None = None, visit: Visit | None = None
) -> Tensor:
    """(N, V) float32 log-probabilities of the whole vocabulary before each of the N answer tokens, in row order; for exact KL.

    `states` (N, D), where a pass over these rows has them already, spare another pass if logits are a bare head's.
    """
    if not (llama_like(backbone) or backbone.plain.config.model_type == "simple_lm"):
        logits = _plain_pass(backbone, packed, visit).logits[packed.choice_positions]
        return torch.log_softmax(logits.float() / temperature, dim=-1)
    if states is None:
        states = final_states(backbone, packed, visit)[packed.choice_positions]
    return log_distribution(backbone, states, temperature)


def log_distribution(backbone: Backbone, states: Tensor, temperature: float) -> Tensor:
    """(N, V) float32 log-probabilities of the whole vocabulary from final states (N, D); for exact KL, a few rows at a time."""
    weight, bias = head(backbone)
    return torch.log_softmax(nn.functional.linear(states.float(), weight, bias) / temperature, dim=-1)


def head(backbone: Backbone) -> tuple[Tensor, Tensor | None]:
    """The vocabulary head's weight (V, D) and bias (V,) in float32; a bfloat16 head is widened once and kept."""
    layer = backbone.plain.get_output_embeddings()
    if layer.weight.dtype == torch.float32:
        return layer.weight, layer.bias
    if backbone.wide_head is None:
        backbone.wide_head = (layer.weight.detach().float(), None if layer.bias is None else layer.bias.detach().float())
    return backbone.wide_head


def llama_like(backbone: Backbone) -> bool:
    """Whether the layers can be run one by one here."""
    config = backbone.plain.config
    return config.model_type in LLAMA_LIKE and not getattr(config, "sliding_window", None)


def has_trunk(backbone: Backbone) -> bool:
    """Whether there are layers to run once per rollout: no training moves them, and they can be run one by one."""
    return llama_like(backbone) and not backbone.plain.model.embed_tokens.weight.requires_grad


def first_trained_layer(backbone: Backbone) -> int:
    """Index of the lowest layer that training moves; the number of layers when it moves none."""
    layers = backbone.plain.model.layers
    return next(
        (index for index, layer in enumerate(layers) if any("lora_" in name for name, _ in layer.named_parameters())), len(layers)
    )


class _HeadLogprobs(torch.autograd.Function):
    """Linear head, log-softmax and gather over slices of rows, with a frozen head.

    The derivative of row n's log-probability by its state, W[chosen] - p W over the temperature, needs nothing from later, so
    it is made while the slice's probabilities are at hand; backward only scales it. The entropy carries no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, chosen: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        logprobs, entropy = states.new_empty(len(states)), states.new_empty(len(states))
        slope = torch.empty_like(states) if wanted else None
        for start in range(0, len(states), HEAD_ROWS):
            part = slice(start, start + HEAD_ROWS)
            logits = nn.functional.linear(states[part], weight, bias)  # (n, V), 2-D: a 3-D input would copy the weight per row
            if temperature != 1.0:
                logits.div_(temperature)
            at = chosen[part, None]
            picked = logits.gather(1, at)
            peak = logits.amax(1, keepdim=True)
            # H = log Z - sum p z, with z the logits less their peak
            shifted = logits.sub_(peak)
            p = shifted.exp()
            total = p.sum(1, keepdim=True)
            log_total = total.log()
            logprobs[part] = (picked - peak - log_total).squeeze(1)
            entropy[part] = log_total.squeeze(1) - shifted.mul_(p).sum(1) / total.squeeze(1)
            if slope is not None:
                slope[part] = (weight[chosen[part]] - (p @ weight) / total) / temperature
        if slope is not None:
            ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0][:, None] * slope, None, None, None, None


class _Prefix:
    """Takes a key-value cache's place in a layer: keeps the prefix's keys and values, then puts them before each row's."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, _layer: int, *_ignored: Any) -> tuple[Tensor, Tensor]:
        """(B, heads, length, width) each."""
        if self.kept is None:
            self.kept = (keys, values)
            return keys, values
        before = [kept.expand(len(keys), -1, -1, -1) for kept in self.kept]
        return torch.cat([before[0], keys], 2), torch.cat([before[1], values], 2)


def _embed(backbone: Backbone, packed: Packed) -> tuple[Tensor | None, Tensor]:
    embed = backbone.plain.model.embed_tokens
    return (embed(packed.prefix[None]) if len(packed.prefix) else None), embed(packed.ids)


def _layers(
    backbone: Backbone, packed: Packed, prefix: Tensor | None, rest: Tensor, start: int, stop: int, visit: Visit | None
) -> tuple[Tensor | None, Tensor]:
    """Layers start..stop-1 over the prefix (1, S, D), once, and the rows (B, L, D), which see it."""
    decoder = backbone.plain.model
    shared, length = len(packed.prefix), rest.shape[1]
    at = torch.arange(shared + length, device=rest.device)
    cos, sin = decoder.rotary_emb(rest, at[None])
    hidden = torch.zeros(shared + length, shared + length, dtype=rest.dtype, device=rest.device)
    hidden.masked_fill_(at[None, :] > at[:, None], torch.finfo(rest.dtype).min)
    for index in range(start, stop):
        if visit is not None:
            visit(index, rest)
        memory = _Prefix() if prefix is not None else None
        if prefix is not None:
            prefix = _layer(decoder.layers[index], prefix, hidden[:shared, :shared], (cos[:, :shared], sin[:, :shared]), memory)
        rest = _layer(decoder.layers[index], rest, hidden[shared:], (cos[:, shared:], sin[:, shared:]), memory)
    return prefix, rest


def _layer(layer: nn.Module, x: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], memory: _Prefix | None) -> Tensor:
    out = layer(x, attention_mask=mask[None, None], position_embeddings=rope, past_key_values=memory)
    return out if isinstance(out, Tensor) else out[0]


def _plain_pass(backbone: Backbone, packed: Packed, visit: Visit | None) -> Any:
    """The model's own forward over prefix and rest together, its outputs cut to the rest; right for every architecture."""
    shared, batch = len(packed.prefix), len(packed.ids)
    ids = torch.cat([packed.prefix.expand(batch, -1), packed.ids], 1)
    lengths = shared + packed.prompt_lengths + packed.response_lengths
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    out = backbone.plain(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    out.logits = out.logits[:, shared:]
    out.hidden_states = tuple(layer[:, shared:] for layer in out.hidden_states)
    if visit is not None:
        for index, layer in enumerate(out.hidden_states):
            visit(index, layer)
    return out


def _from_logits(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    log_p = torch.log_softmax(logits, dim=-1)
    return log_p.gather(1, chosen[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(-1)


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Flat per-token results (N, ...) in row order to (B, T, ...), 0 outside the mask."""
    out = flat.new_zeros(*mask.shape, *flat.shape[1:])
    return out.masked_scatter(mask.reshape(*mask.shape, *[1] * (flat.dim() - 1)), flat)
