from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.lm.backbone import Backbone, attach_lora, pin_reference
from trainer.lm.lm_head import lm_head, token_logprobs
from trainer.lm.loading import load_backbone

TEMPERATURE = 0.7


def some_states(backbone: Backbone, rows: int = 300) -> Tensor:
    """More than one slice of them, from undecided about the next token to all but certain of it."""
    width = backbone.plain.config.hidden_size
    draw = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    return (draw * torch.linspace(0.1, 8, rows)[:, None]).requires_grad_()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-3), ("bfloat16", 2.0**-5)])
def test_a_frozen_heads_slope_is_autograds_to_the_trunks_precision(llama_folder: Path, dtype: str, tolerance: float) -> None:
    backbone = load_backbone(str(llama_folder), dtype)
    states = some_states(backbone)
    with torch.no_grad():
        likeliest = lm_head(backbone).logits(states).argmax(1)
    chosen = torch.where(torch.arange(300) % 2 == 0, likeliest, torch.arange(300) % 259)
    logprobs, entropy = token_logprobs(backbone, states, chosen, TEMPERATURE)
    weight = backbone.plain.get_output_embeddings().weight.float()
    log_p = torch.log_softmax(F.linear(states, weight) / TEMPERATURE, -1)
    right = log_p.gather(1, chosen[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs, right, atol=1e-4, rtol=1e-5)  # whatever the trunk's type
    torch.testing.assert_close(entropy, -(log_p.exp() * log_p).sum(1), atol=1e-4, rtol=1e-5)
    certain = (right > -1e-2) & (right < -1e-4)  # little slope is left, which must not be rounded away
    assert bool(certain.any())
    times = torch.linspace(-1, 1, 300)
    (ours,) = torch.autograd.grad((logprobs * times).sum(), states)
    (theirs,) = torch.autograd.grad((right * times).sum(), states)
    apart = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
    assert float(apart[right < -1e-4].max()) < tolerance
    assert dtype == "bfloat16" or float((ours - theirs).norm() / theirs.norm()) < 1e-5


def test_a_frozen_head_is_laid_out_once_and_one_in_training_never(llama_folder: Path, simple_lm_folder: Path) -> None:
    frozen, trained = load_backbone(str(llama_folder)), load_backbone(str(simple_lm_folder))
    for backbone in (frozen, trained):
        attach_lora(backbone, rank=4, layers=2, seed=0)  # of a SimpleLM all weights are trained
    pin_reference(frozen)
    assert lm_head(frozen) is lm_head(frozen)
    states = some_states(trained, 3).detach()
    before = lm_head(trained).logits(states)
    with torch.no_grad():
        trained.plain.get_output_embeddings().weight.mul_(2)
    after = lm_head(trained)
    bias = 0.0 if after.bias is None else after.bias
    torch.testing.assert_close(after.logits(states) - bias, 2 * (before - bias))
