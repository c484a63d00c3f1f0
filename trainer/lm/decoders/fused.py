"""The fast decoder, for Llama-like models: fused matrices laid out for the work, keys and values in blocks made once.

It fuses the query, key and value matrices and the two gate matrices, adds adapters into them, lays all weights out
(trainer/lm/machine/weight_layouts.py), and reads a prefix that all prompts share once. It changes no result beyond the
rounding of the trunk's type.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.lm.backbone import Backbone
from trainer.lm.decoders.decoder import pad_left
from trainer.lm.forward import first_trained_layer, shared_prefix
from trainer.lm.lm_head import lm_head
from trainer.lm.machine.weight_layouts import Linear, laid_out


class _Layer:
    """One layer's weights, fused and laid out: (norm, qkv, output, norm, gate and up, down)."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.attention_norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.qkv = _fused([attention.q_proj, attention.k_proj, attention.v_proj])
        self.output = _fused([attention.o_proj])
        self.gate_up = _fused([mlp.gate_proj, mlp.up_proj])
        self.down = _fused([mlp.down_proj])
        self.act = mlp.act_fn
        self.scaling: float = attention.scaling
        # Of queries and of keys, each head on its own, where a family has them.
        self.head_norms = (attention.q_norm, attention.k_norm) if hasattr(attention, "q_norm") else None


class FusedDecoder:
    """Llama-like models. Rows are left-padded after a prefix that all share and that is read once, as are equal prompts."""

    def __init__(self, backbone: Backbone, watch: Collection[int] = ()) -> None:
        self.watch = frozenset(watch)
        self.seen: dict[int, Tensor] = {}
        self.seen_prefix: dict[int, Tensor] = {}
        self.decoder, self.device = backbone.plain.model, backbone.device
        config = backbone.plain.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        frozen = first_trained_layer(backbone)
        layers = self.decoder.layers
        if backbone.packed_layers is None:
            # Kept between rollouts: the layers below the adapters, which no training moves.
            backbone.packed_layers = [_Layer(layer) for layer in layers[:frozen]]
        below, self.head = backbone.packed_layers, lm_head(backbone).logits
        self.layers = below[:frozen] + [_Layer(layer) for layer in layers[len(below[:frozen]) :]]

    def start(self, prompt_ids: Sequence[Sequence[int]], room: int) -> Tensor:
        unique = list(dict.fromkeys(map(tuple, prompt_ids)))
        shared = shared_prefix(unique)
        ids, mask = pad_left([prompt[shared:] for prompt in unique], self.device)
        columns = shared + ids.shape[1] + room
        embed = self.decoder.embed_tokens
        made: Any = {"dtype": embed.weight.dtype, "device": self.device}
        places = len(self.layers), len(unique), self.kv_heads
        # Keys lie as the scores read them, columns side by side; turned around at every token they would be copied.
        self.keys = torch.zeros(*places, self.head_dim, columns, **made)
        self.values = torch.zeros(*places, columns, self.head_dim, **made)
        cos, sin = self.decoder.rotary_emb(embed.weight, torch.arange(columns, device=self.device)[None])  # (1, columns, d) each
        self.cos, self.sin = cos[0], sin[0]
        lowest = torch.finfo(embed.weight.dtype).min
        self.seen_prefix = {}
        if shared:
            causal = torch.full((shared, shared), lowest, **made).triu(1)[None]
            self.column = 0
            self._run(embed(self._ids([unique[0][:shared]])), torch.arange(shared, device=self.device)[None], causal)
            self.seen_prefix = self.seen
            self.keys[:, 1:, ..., :shared] = self.keys[:, :1, ..., :shared]
            self.values[:, 1:, :, :shared] = self.values[:, :1, :, :shared]
        self.column = shared
        seen = torch.cat([mask.new_ones(len(unique), shared), mask], 1).bool()  # (U, S + P)
        at = torch.arange(seen.shape[1], device=self.device)
        later = at > at[shared:, None]  # (P, S + P)
        hidden = torch.zeros(len(unique), *later.shape, **made).masked_fill_(later | ~seen[:, None], lowest)
        positions = (seen.cumsum(1) - 1).clamp(min=0)
        x = self._run(embed(ids), positions[:, shared:], hidden)[:, -1]
        back = {prompt: index for index, prompt in enumerate(unique)}
        index = self._ids([back[tuple(prompt)] for prompt in prompt_ids])
        self.seen = {layer: states[index] for layer, states in self.seen.items()}
        if len(unique) < len(prompt_ids):
            self.keys, self.values = self.keys[:, index], self.values[:, index]
        self.rows = len(prompt_ids)
        self.positions = positions[index, -1]
        pads = torch.zeros(self.rows, columns, **made)
        pads[:, : seen.shape[1]].masked_fill_(~seen[index], lowest)
        self.pads = pads
        return self._logits(x)[index]

    def step(self, tokens: Tensor) -> Tensor:
        self.positions = self.positions + 1
        hidden = self.pads[:, None, : self.column + 1]
        return self._logits(self._run(self.decoder.embed_tokens(tokens[:, None]), self.positions[:, None], hidden)[:, 0])

    def keep(self, rows: list[int]) -> None:
        for to, source in enumerate(rows):  # in place and in order, so a row must not be needed after it was overwritten
            if to != source:
                if source < to:
                    raise ValueError("rows may only move down")
                self.keys[:, to, ..., : self.column] = self.keys[:, source, ..., : self.column]
                self.values[:, to, :, : self.column] = self.values[:, source, :, : self.column]
        self.rows = len(rows)
        index = self._ids(rows)
        self.positions, self.pads = self.positions[index], self.pads[index]

    def _ids(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, device=self.device)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder.norm(x).float())
        return logits

    def _run(self, x: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """Layers over x (n, L, D) at `positions` (n or 1, L), `hidden` (n or 1, L, columns so far) added to the scores."""
        n, length, width = x.shape
        cos, sin = self.cos[positions].unsqueeze(2), self.sin[positions].unsqueeze(2)  # (n, L, 1, d)
        half = self.head_dim // 2
        sin = torch.cat((-sin[..., :half], sin[..., half:]), -1)  # what is turned against what, its sign with it
        end, heads, kv = self.column + length, self.heads, self.kv_heads
        group = heads // kv
        # Scores are (n * kv heads, group * L, columns): the queries of a group share their keys.
        hidden = hidden[:, None, None].expand(n, kv, group, length, end).reshape(n * kv, group * length, end)
        # Views all four: what a layer writes into the new columns its scores then read.
        keys, values = self.keys[:, :n, ..., :end].flatten(1, 2), self.values[:, :n, :, :end].flatten(1, 2)
        new_keys, new_values = self.keys[:, :n, ..., self.column : end], self.values[:, :n, :, self.column : end]
        x = x.reshape(n * length, width)
        seen: dict[int, Tensor] = {}
        for index, layer in enumerate(self.layers):
            if index in self.watch:
                seen[index] = x.view(n, length, width)  # nothing below writes into it
            qkv = layer.qkv(layer.attention_norm(x)).view(n, length, heads + 2 * kv, self.head_dim)
            qk = qkv[:, :, : heads + kv]
            if layer.head_norms is not None:
                qk = torch.cat([norm(part) for norm, part in zip(layer.head_norms, qk.split([heads, kv], 2), strict=True)], 2)
            qk = torch.addcmul(qk * cos, torch.cat((qk[..., half:], qk[..., :half]), -1), sin)
            new_keys[index] = qk[:, :, heads:].permute(0, 2, 3, 1)
            new_values[index] = qkv[:, :, heads + kv :].transpose(1, 2)
            queries = qk[:, :, :heads].transpose(1, 2).reshape(n * kv, group * length, self.head_dim)
            scores = torch.baddbmm(hidden, queries, keys[index], alpha=layer.scaling)
            weights = torch.softmax(scores, -1, dtype=torch.float32).to(x.dtype)
            mixed = torch.bmm(weights, values[index]).view(n, heads, length, self.head_dim).transpose(1, 2)
            x = x + layer.output(mixed.reshape(n * length, heads * self.head_dim))
            gate, up = layer.gate_up(layer.mlp_norm(x)).chunk(2, -1)
            x = x + layer.down(layer.act(gate).mul_(up))
        if len(self.layers) in self.watch:
            seen[len(self.layers)] = self.decoder.norm(x).view(n, length, width)
        self.seen = seen
        self.column = end
        return x.view(n, length, width)


def _fused(modules: Sequence[Any]) -> Linear:
    """Linear maps of one input, stacked into one, adapters added in."""
    biases = [module.bias for module in modules]
    weight = torch.cat([_effective_weight(module) for module in modules])  # of two types the wider
    bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases]).to(weight.dtype)
    run, own, trunk = laid_out(weight, bias), weight.dtype, modules[0].weight.dtype
    return run if own == trunk else lambda x: run(x.to(own)).to(trunk)


def _effective_weight(module: Any) -> Tensor:
    """(out, in) weight of a linear layer with its active adapters added: then float32, as bfloat16 would swallow small ones."""
    if isinstance(module, nn.Linear):
        return module.weight.detach()
    weight: Tensor = module.get_base_layer().weight.detach()
    if module.disable_adapters or module.merged:
        return weight
    total = weight.float()
    for adapter in module.active_adapters:
        if adapter in module.lora_A:
            total = total + module.get_delta_weight(adapter).detach().float()
    return total
