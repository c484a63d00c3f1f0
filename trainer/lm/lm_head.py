"""The vocabulary head: from final hidden states to log-probabilities of tokens, without ever holding all logits.

For SmolLM2's 49,152 words the head is a quarter of the model, and its logits are a hundred times as large as the states they
come from; so they are made, used and dropped in slices of rows. Knows no layers, no padding and no loss.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.contract.memory.forecast import HEAD_ROWS
from trainer.lm.backbone import Backbone
from trainer.lm.machine.weight_layouts import Linear, laid_out


class ComparedLogprobs(NamedTuple):
    """Per token, flat (N,): two policies at the tokens one of them chose."""

    logprobs: Tensor  # nats, of the chosen tokens under the policy
    entropy: Tensor  # nats, of the policy's distribution
    ref_logprobs: Tensor  # nats, of the chosen tokens under the reference
    exact_kl: Tensor  # nats, KL(policy || reference) over the whole vocabulary


class LmHead:
    """The vocabulary head, its logits float32 whatever the trunk.

    One that no training moves is laid out for speed (trainer/lm/machine/weight_layouts.py), which takes a copy; any other is
    good until the next step of the optimiser.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, frozen: bool) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()  # (V, D), (V,), in the trunk's type
        self._lay_out = laid_out if frozen else _as_it_is

    @cached_property
    def logits(self) -> Linear:
        """States (n, D) to logits (n, V)."""
        return self._lay_out(self.weight.float(), None if self.bias is None else self.bias.float())

    @cached_property
    def slopes(self) -> Linear:
        """What a loss says of logits (n, V) to what it says of states (n, D), in the trunk's type, as their gradient goes on."""
        given, dtype = self._lay_out(self.weight.T, None), self.weight.dtype
        return lambda p: given(p.to(dtype)).float()


def lm_head(backbone: Backbone) -> LmHead:
    """The model's head as it is now; a frozen one is laid out once and kept."""
    layer = backbone.plain.get_output_embeddings()
    if layer.weight.requires_grad:
        return LmHead(layer.weight, layer.bias, frozen=False)
    if backbone.frozen_head is None:
        backbone.frozen_head = LmHead(layer.weight, layer.bias, frozen=True)
    found: LmHead = backbone.frozen_head
    return found


def _as_it_is(weight: Tensor, bias: Tensor | None) -> Linear:
    return lambda x: nn.functional.linear(x, weight, bias)


def token_logprobs(backbone: Backbone, states: Tensor, chosen: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of `chosen` (N,) and entropy of the distribution, both (N,) float32, from final states (N, D).

    The entropy carries no gradient.
    """
    layer = backbone.plain.get_output_embeddings()
    if torch.is_grad_enabled() and layer.weight.requires_grad:
        bias = None if layer.bias is None else layer.bias.float()
        logits = nn.functional.linear(states.float(), layer.weight.float(), bias)
        logprobs, entropy = from_logits(logits / temperature, chosen)
        return logprobs, entropy.detach()
    logprobs, entropy = _HeadLogprobs.apply(states.float(), lm_head(backbone), chosen, temperature)  # type: ignore[no-untyped-call]
    return logprobs, entropy


def compare(
    states: Tensor,  # (N, D) final states of the policy
    own_head: LmHead,
    ref_states: Tensor,  # (N, D) final states of the reference
    ref_head: LmHead,
    chosen: Tensor,  # (N,) token ids
    temperature: float,
) -> ComparedLogprobs:
    """Both policies at the same tokens, in one walk over the slices; the policy's part is `token_logprobs` bit for bit."""
    out = ComparedLogprobs(*(states.new_empty(len(states), dtype=torch.float32) for _ in range(4)))
    for start in range(0, len(states), HEAD_ROWS):
        part = slice(start, start + HEAD_ROWS)
        at = chosen[part, None]
        picked, shifted, p, total = _softmax_parts(states[part].float(), own_head, at, temperature)
        ref_picked, ref_shifted, _, ref_total = _softmax_parts(ref_states[part].float(), ref_head, at, temperature)
        log_total, ref_log_total = total.log(), ref_total.log()
        cross = log_total.new_empty(len(at), 1)
        torch.sum(ref_shifted.mul_(p), 1, keepdim=True, out=cross)
        entropy = log_total.squeeze(1) - shifted.mul_(p).sum(1) / total.squeeze(1)
        out.logprobs[part] = (picked - log_total).squeeze(1)
        out.ref_logprobs[part] = (ref_picked - ref_log_total).squeeze(1)
        out.entropy[part] = entropy
        # sum p (log p - log q), with log q = z_q - log Z_q
        out.exact_kl[part] = (ref_log_total - cross / total).squeeze(1) - entropy
    return out


def from_logits(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of `chosen` (N,) and entropy, both (N,), from float32 logits (N, V)."""
    log_p = torch.log_softmax(logits, dim=-1)
    return log_p.gather(1, chosen[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(-1)


class _HeadLogprobs(torch.autograd.Function):
    """Linear head, log-softmax and gather over slices of rows, with a frozen head.

    The derivative of row n's log-probability by its state, (onehot(chosen) - p) W over the temperature, needs nothing from
    later, so it is made while the slice's probabilities are at hand; backward only scales it. The entropy carries no gradient.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, own: LmHead, chosen: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        logprobs, entropy = states.new_empty(len(states)), states.new_empty(len(states))
        slope = torch.empty_like(states) if wanted else None
        for start in range(0, len(states), HEAD_ROWS):
            part = slice(start, start + HEAD_ROWS)
            picked, shifted, p, total = _softmax_parts(states[part], own, chosen[part, None], temperature)
            log_total = total.log()
            logprobs[part] = (picked - log_total).squeeze(1)
            # H = log Z - sum p z, with z the logits less their peak
            entropy[part] = log_total.squeeze(1) - shifted.mul_(p).sum(1) / total.squeeze(1)
            if slope is not None:
                p.scatter_add_(1, chosen[part, None], -total)  # before any rounding, as a confident token leaves little
                slope[part] = own.slopes(p) / (total * -temperature)
        if slope is not None:
            ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0][:, None] * slope, None, None, None


def _softmax_parts(states: Tensor, own: LmHead, at: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits less their peak: at `at` (n, 1), and all (n, V); their exponentials (n, V), and the sum of those (n, 1)."""
    logits = own.logits(states)  # (n, V), 2-D: a 3-D input would copy the weight per row
    if temperature != 1.0:
        logits.div_(temperature)
    shifted = logits.sub_(logits.amax(1, keepdim=True))
    p = shifted.exp()
    return shifted.gather(1, at), shifted, p, p.sum(1, keepdim=True)
