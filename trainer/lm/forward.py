"""Log-probabilities of given answers: one pass over prompts and answers, logits only where an answer's tokens are chosen.

What makes it fast on a CPU, none of which changes the result: the prefix all prompts share (a system turn) runs once, padding
stands on the right so that causality alone masks it, layers below the adapters are frozen and run once per rollout
(`with_trunk`), and the vocabulary head never holds more than a slice of its logits. Models whose layers are not Llama's take
the plain path through their own forward. This file knows no reward and no loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.contract.memory.forecast import MOST_KEPT
from trainer.lm.backbone import Backbone, layer_by_layer, layers_run, reference
from trainer.lm.lm_head import ComparedLogprobs, compare, from_logits, lm_head, token_logprobs
from trainer.lm.machine.device import HOST
from trainer.lm.machine.recompute import recomputed
from trainer.lm.recorded_states import RecordedStates

LayerVisit = Callable[[int, Tensor], None]
SWALLOWED = {"use_cache", "output_hidden_states"}  # what a forward without these names passes on to its layers


@dataclass(frozen=True)
class Packed:
    """Prompts and answers of B rows, the shared prefix cut off, padded on the right; lengths, never ids, say what is real.

    Ids and lengths are on the host; states are on the model's device.
    """

    prefix: Tensor  # (S,) ids that every prompt begins with; S may be 0
    ids: Tensor  # (B, L) the rest of the prompt, the answer, then padding
    prompt_lengths: Tensor  # (B,) tokens of the rest of the prompt, at least 1
    response_lengths: Tensor  # (B,) tokens of the answer, its EOS included
    width: int  # T: columns of per-token results, the longest answer; kept by `rows`, so that results of parts fit
    prefix_states: Tensor | None = None  # (1, S, D) residual stream where the trunk ends
    states: Tensor | None = None  # (B, L, D) the same for the rest

    @property
    def mask(self) -> Tensor:
        """(B, T) bool, True on the tokens of the answers."""
        return torch.arange(self.width) < self.response_lengths[:, None]

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of `ids` that are not padding."""
        return self.prompt_lengths + self.response_lengths

    @property
    def answer_positions(self) -> Tensor:
        """(B, L) bool, True in `ids` on the tokens of the answers."""
        at = torch.arange(self.ids.shape[1])
        return (at >= self.prompt_lengths[:, None]) & (at < (self.prompt_lengths + self.response_lengths)[:, None])

    @property
    def choice_positions(self) -> Tensor:
        """(B, L) bool, True where the state before an answer's token stands, from which that token is chosen."""
        at = torch.arange(self.ids.shape[1]) + 1
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


class ReadAgain:
    """Answers that are read at many steps: the layers that no training moves run once, and where there is room what comes out
    of them is kept.
    """

    def __init__(self, backbone: Backbone, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> None:
        self._backbone = backbone
        self._packed = pack(prompt_ids, response_ids)
        self.kept: list[Tensor] | None = self._room()
        self.response_lengths = self._packed.response_lengths  # (N,)
        self.lengths = self._packed.lengths  # (N,) of prompt and answer, less the prefix that all prompts share

    def first(self, index: Tensor) -> Packed:
        """The rows `index` (n,) as they are read for the first time."""
        rows = self._packed.rows(index)
        if self.kept is not None:
            rows = with_trunk(self._backbone, rows)
            assert rows.states is not None
            for row, at in enumerate(index.tolist()):
                self.kept[at] = rows.states[row, : int(rows.lengths[row])].clone()
            self._packed = replace(self._packed, prefix_states=rows.prefix_states)
        return rows

    def rows(self, index: Tensor) -> Packed:
        """The rows `index` (n,), to be read again; some may have been read by another process only."""
        if self.kept is not None:
            unread = [at for at in index.tolist() if not len(self.kept[at])]
            if unread:
                self.first(torch.tensor(unread))
        rows = self._packed.rows(index)
        rows = replace(rows, width=int(rows.response_lengths.max()))
        if self.kept is None:
            return rows
        return replace(rows, states=nn.utils.rnn.pad_sequence([self.kept[at] for at in index.tolist()], batch_first=True))

    def _room(self) -> list[Tensor] | None:
        """Places for the trunk's states; None where there is no trunk, or they would take too much memory."""
        if not has_trunk(self._backbone):
            return None
        embedding = self._backbone.plain.get_input_embeddings().weight
        tokens = int(self._packed.lengths.sum())
        fits = tokens * embedding.shape[1] * embedding.element_size() <= MOST_KEPT
        return [torch.empty(0)] * len(self._packed.ids) if fits else None


class ResponseLogprobs(NamedTuple):
    """Per token of the answers; 0 outside the mask. All but the states are on the host."""

    logprobs: Tensor  # (B, T) nats, of the tokens that were chosen
    entropy: Tensor  # (B, T) nats, of the distribution each was chosen from; carries no gradient
    mask: Tensor  # (B, T) bool
    states: Tensor  # (B, T, D) the final hidden state before each token, for a value head


def pack(prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> Packed:
    """Put prompts and answers (non-empty lists of token ids) into one batch."""
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
        width=max(map(len, response_ids)),
    )


def shared_prefix(prompt_ids: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all prompts share, leaving each at least one of its own."""
    shortest = min(map(len, prompt_ids))
    first = prompt_ids[0]
    for at in range(shortest - 1):
        if any(prompt[at] != first[at] for prompt in prompt_ids):
            return at
    return shortest - 1


def with_trunk(backbone: Backbone, packed: Packed, visit: LayerVisit | None = None) -> Packed:
    """`packed` with the activations that no training changes: the layers below the first adapter, run once without gradient.

    The same for policy and reference. `visit` receives (i, (B, L, D)) with the input of each layer i that runs here, which is
    transformers' `hidden_states[i]`. Returns `packed` unchanged where the model has no such trunk.
    """
    if not has_trunk(backbone):
        return packed
    with torch.no_grad():
        prefix, rest = _layers(backbone, packed, *_embed(backbone, packed), 0, first_trained_layer(backbone), visit)
    return replace(packed, prefix_states=prefix, states=rest)


def with_recording(backbone: Backbone, packed: Packed, recording: RecordedStates, visit: LayerVisit | None = None) -> Packed:
    """`with_trunk` for answers that were just written, from what the decoder kept of its own pass over these layers.

    The recording holds the input of the lowest trained layer; `visit` receives those of the layers under it that it holds.
    """
    first, shared = first_trained_layer(backbone), len(packed.prefix)

    def padded(layer: int) -> Tensor:
        rows = [recording.states(layer, row)[shared:] for row in range(len(packed.ids))]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    if visit is not None:
        for layer in sorted(layer for layer in recording.layers if layer < first):
            visit(layer, padded(layer))
    prefix = recording.states(first, 0)[None, :shared] if shared else None
    return replace(packed, prefix_states=prefix, states=padded(first))


def final_states(backbone: Backbone, packed: Packed, visit: LayerVisit | None = None) -> Tensor:
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
    backbone: Backbone, packed: Packed, temperature: float, visit: LayerVisit | None = None
) -> ResponseLogprobs:
    """Log-probabilities of the answers under the current policy (inside `reference`: the reference's), logits / temperature.

    Runs with or without gradient, as the caller's torch.no_grad() says. Logits are float32.
    """
    chosen = packed.ids[packed.answer_positions].to(backbone.device)  # (N,) in row order, as are all flat tensors here
    if bare_head(backbone):
        flat = final_states(backbone, packed, visit)[packed.choice_positions]  # (N, D)
        logprobs, entropy = token_logprobs(backbone, flat, chosen, temperature)
    else:
        out = _plain_pass(backbone, packed, visit)
        flat = out.hidden_states[-1][packed.choice_positions]
        logprobs, entropy = from_logits(out.logits[packed.choice_positions].float() / temperature, chosen)
        entropy = entropy.detach()
    mask = packed.mask
    return ResponseLogprobs(spread(logprobs.to(HOST), mask), spread(entropy.to(HOST), mask), mask, spread(flat, mask))


def compared_logprobs(
    backbone: Backbone, packed: Packed, temperature: float, visit: LayerVisit | None = None, ref_visit: LayerVisit | None = None
) -> tuple[ComparedLogprobs, Tensor]:
    """The answers under the policy and under its reference, without gradient: flat (N,) figures on the host, and (N, D)
    the policy's states.

    `visit` looks on at the policy's layers, `ref_visit` at the reference's.
    """
    chosen, at = packed.ids[packed.answer_positions].to(backbone.device), packed.choice_positions
    with torch.no_grad():
        if bare_head(backbone):
            states, own = final_states(backbone, packed, visit)[at], lm_head(backbone)
            with reference(backbone):
                ref_states, ref = final_states(backbone, packed, ref_visit)[at], lm_head(backbone)
            return _on_host(compare(states, own, ref_states, ref, chosen, temperature)), states
        out = _plain_pass(backbone, packed, visit)
        log_p = torch.log_softmax(out.logits[at].float() / temperature, dim=-1)
        with reference(backbone):
            log_q = torch.log_softmax(_plain_pass(backbone, packed, ref_visit).logits[at].float() / temperature, dim=-1)
        logprobs, entropy = from_logits(out.logits[at].float() / temperature, chosen)
        ref_logprobs = log_q.gather(1, chosen[:, None]).squeeze(1)
        exact_kl = (log_p.exp() * (log_p - log_q)).sum(1)
        return _on_host(ComparedLogprobs(logprobs, entropy, ref_logprobs, exact_kl)), out.hidden_states[-1][at]


def _on_host(figures: ComparedLogprobs) -> ComparedLogprobs:
    return ComparedLogprobs._make(figure.to(HOST) for figure in figures)


def llama_like(backbone: Backbone) -> bool:
    """Whether the layers can be run one by one here."""
    return layer_by_layer(backbone.plain.config)


def bare_head(backbone: Backbone) -> bool:
    """Whether logits are a linear head's on the final states, and nothing more."""
    return llama_like(backbone) or backbone.plain.config.model_type == "simple_lm"


def has_trunk(backbone: Backbone) -> bool:
    """Whether there are layers to run once per rollout: no training moves them, and they can be run one by one."""
    return llama_like(backbone) and not backbone.plain.model.embed_tokens.weight.requires_grad


def first_trained_layer(backbone: Backbone) -> int:
    """Index of the lowest layer that training moves; the number of layers when it moves none."""
    layers = backbone.plain.model.layers
    return next(
        (index for index, layer in enumerate(layers) if any("lora_" in name for name, _ in layer.named_parameters())), len(layers)
    )


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
    prefix, ids = packed.prefix.to(backbone.device), packed.ids.to(backbone.device)
    return (embed(prefix[None]) if len(prefix) else None), embed(ids)


def _layers(
    backbone: Backbone, packed: Packed, prefix: Tensor | None, rest: Tensor, start: int, stop: int, visit: LayerVisit | None
) -> tuple[Tensor | None, Tensor]:
    """Layers start..stop-1 over the prefix (1, S, D), once, and the rows (B, L, D), which see it."""
    decoder = backbone.plain.model
    shared, length = len(packed.prefix), rest.shape[1]
    at = torch.arange(shared + length, device=rest.device)
    cos, sin = decoder.rotary_emb(rest, at[None])
    hidden = torch.zeros(shared + length, shared + length, dtype=rest.dtype, device=rest.device)
    hidden.masked_fill_(at[None, :] > at[:, None], torch.finfo(rest.dtype).min)

    def step(layer: nn.Module, prefix: Tensor | None, rest: Tensor) -> tuple[Tensor | None, Tensor]:
        memory = _Prefix() if prefix is not None else None
        if prefix is not None:
            prefix = _layer(layer, prefix, hidden[:shared, :shared], (cos[:, :shared], sin[:, :shared]), memory)
        return prefix, _layer(layer, rest, hidden[shared:], (cos[:, shared:], sin[:, shared:]), memory)

    for index in range(start, stop):
        if visit is not None:
            visit(index, rest)
        given = decoder.layers[index], prefix, rest
        prefix, rest = recomputed(step, *given) if backbone.recompute else step(*given)
    return prefix, rest


def _layer(layer: nn.Module, x: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor], memory: _Prefix | None) -> Tensor:
    out = layer(x, attention_mask=mask[None, None], position_embeddings=rope, past_key_values=memory)
    return out if isinstance(out, Tensor) else out[0]


def _plain_pass(backbone: Backbone, packed: Packed, visit: LayerVisit | None) -> Any:
    """The model's own forward over prefix and rest together, its outputs cut to the rest; right for every causal architecture."""
    shared, batch = len(packed.prefix), len(packed.ids)
    ids = torch.cat([packed.prefix.expand(batch, -1), packed.ids], 1)
    lengths = shared + packed.prompt_lengths + packed.response_lengths
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    with layers_run(backbone):
        out = own_forward(backbone.plain, input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    out.logits = out.logits[:, shared:]
    out.hidden_states = tuple(layer[:, shared:] for layer in out.hidden_states)
    if visit is not None:
        for index, layer in enumerate(out.hidden_states):
            visit(index, layer)
    return out


def own_forward(model: Any, **given: Any) -> Any:
    """The model's own forward with those of these arguments that it knows: not each has positions, a mask, or a cache to use.

    Tensors may come from the host.
    """
    named, any_name = _parameters(type(model).forward)
    known = {name: value for name, value in given.items() if name in named or (any_name and name in SWALLOWED)}
    device = next(model.parameters()).device
    return model(**{name: value.to(device) if isinstance(value, Tensor) else value for name, value in known.items()})


@lru_cache(maxsize=8)
def _parameters(forward: Hashable) -> tuple[frozenset[str], bool]:
    found = inspect.signature(forward).parameters  # type: ignore[arg-type]
    any_name = any(parameter.kind == parameter.VAR_KEYWORD for parameter in found.values())
    return frozenset(found), any_name


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Flat per-token results (N, ...) in row order to (B, T, ...), 0 outside the mask (B, T) on the host."""
    out = flat.new_zeros(*mask.shape, *flat.shape[1:])
    return out.masked_scatter(mask.to(flat.device).reshape(*mask.shape, *[1] * (flat.dim() - 1)), flat)
