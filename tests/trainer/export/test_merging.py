from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from trainer.lm.backbone import attach_lora, trainable_parameters
from trainer.lm.loading import load_backbone
from trainer.lm.simple_lm import train_tokenizer
from trainer.reward.scorer import _merged


def test_a_gpt2_rewards_adapters_are_merged_as_they_were_trained_square_matrices_too(tmp_path: Path) -> None:
    """GPT-2 keeps its matrices the other way round, which the shape of a square one does not tell."""
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=259, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "base")
    train_tokenizer([], 259).save_pretrained(tmp_path / "base")
    tuned = load_backbone(str(tmp_path / "base"))
    attach_lora(tuned, rank=2, layers=1, seed=0)
    for parameter in trainable_parameters(tuned):
        parameter.data.normal_(0, 0.2)
    tuned.model.save_pretrained(str(tmp_path / "reward"), save_embedding_layers=False)
    found = _merged(tmp_path / "reward", load_backbone(str(tmp_path / "base")))
    right = dict(tuned.model.merge_and_unload().named_parameters())
    assert any(weight.shape[0] == weight.shape[1] for weight in found.values())
    for name, weight in found.items():
        torch.testing.assert_close(weight, right[name].detach())
