"""Layers computed twice: the same gradients from far fewer numbers kept, by every way that layers are run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.trainer.sft.test_packing import gpt2, texts
from tests.trainer.tiny import disturb, llama_policy, simple_policy
from trainer.lm.backbone import Backbone, attach_lora, trainable_parameters
from trainer.lm.batched_reading import read
from trainer.lm.forward import pack, response_logprobs, with_trunk
from trainer.sft.packing import loss_sum
from trainer.sft.packing import pack as rows_of

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS, ANSWERS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 10, 11, 12]], [[20, 21, 22], [23], [24, 25, 2]]


def answers_of(backbone: Backbone) -> Tensor:
    packed = with_trunk(backbone, pack(PROMPTS, ANSWERS))
    return response_logprobs(backbone, packed, 0.7).logprobs.square().sum()


def texts_of(backbone: Backbone) -> Tensor:
    at = read(backbone, PROMPTS)
    weights = torch.linspace(-1, 1, 32)
    return torch.cat([at(row, slice(-1, None)) for row in range(len(PROMPTS))]).pow(3).mul(weights).sum()


def next_tokens(backbone: Backbone) -> Tensor:
    return loss_sum(backbone, rows_of(texts(5), 24), packed=backbone.plain.config.model_type == "llama")


def gpt2_policy() -> Backbone:
    backbone = gpt2()
    backbone.model.requires_grad_(False)
    attach_lora(backbone, rank=4, layers=0, seed=0)
    return backbone


def learned(backbone: Backbone, loss: Callable[[Backbone], Tensor], recompute: bool) -> tuple[list[Tensor], int]:
    """The gradients, and how many numbers were kept for them."""
    backbone.recompute = recompute
    backbone.model.zero_grad()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = loss(backbone)
    total.backward()  # type: ignore[no-untyped-call]
    found = [parameter.grad for parameter in trainable_parameters(backbone) if parameter.grad is not None]
    assert len(found) == len(trainable_parameters(backbone))
    return [gradient.clone() for gradient in found], sum(kept.values())


@pytest.mark.parametrize("loss", [answers_of, texts_of, next_tokens])
@pytest.mark.parametrize(
    "policy", [lambda: llama_policy(layers=6, adapted=0), lambda: llama_policy(layers=6, adapted=3), gpt2_policy]
)
def test_gradients_are_the_same_and_far_less_is_kept(policy: Callable[[], Backbone], loss: Callable[[Backbone], Tensor]) -> None:
    backbone = policy()
    disturb(backbone)
    gradients, kept = learned(backbone, loss, recompute=False)
    same, fewer = learned(backbone, loss, recompute=True)
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0.01
    for gradient, again in zip(gradients, same, strict=True):
        torch.testing.assert_close(again, gradient, rtol=0, atol=1e-6)
    assert fewer < 0.75 * kept


def test_a_recurrent_model_learns_the_same() -> None:
    backbone = simple_policy(vocab=40, eos=2)
    gradients, _ = learned(backbone, answers_of, recompute=False)
    same, _ = learned(backbone, answers_of, recompute=True)
    for gradient, again in zip(gradients, same, strict=True):
        torch.testing.assert_close(again, gradient, rtol=0, atol=1e-6)


def test_nothing_is_computed_twice_where_no_gradient_is_wanted() -> None:
    backbone = llama_policy(adapted=0)
    passes = []
    backbone.plain.model.layers[0].register_forward_hook(lambda *_: passes.append(1))
    backbone.recompute = True
    with torch.no_grad():
        answers_of(backbone)
    assert len(passes) == 2  # the prefix that the prompts share, and the rest
