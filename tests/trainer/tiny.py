"""Real models that are small enough to enumerate, and run folders for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainer.contract.folder import RunFolder
from trainer.lm.backbone import Backbone, attach_lora, trainable_parameters
from trainer.lm.simple_lm import SimpleLM, SimpleLMConfig


def simple_policy(vocab: int, eos: int | None, seed: int = 0, uniform: bool = False, hidden: int = 16) -> Backbone:
    """A SimpleLM over letters that trains all its weights; `uniform` makes every token as likely as the next."""
    torch.manual_seed(seed)
    model = SimpleLM(
        SimpleLMConfig(
            vocab_size=vocab, embedding_size=8, hidden_size=hidden, bos_token_id=None, eos_token_id=eos, pad_token_id=None
        )
    ).eval()
    if uniform:
        torch.nn.init.zeros_(model.head.weight)
        torch.nn.init.zeros_(model.head.bias)
    backbone = Backbone(model.requires_grad_(False), letters(vocab, eos), "tiny", "0", torch.float32)
    attach_lora(backbone, rank=4, layers=0, seed=seed)
    return backbone


def llama_policy(
    vocab: int = 40, eos: int | None = 2, seed: int = 0, layers: int = 3, adapted: int = 1, dtype: torch.dtype = torch.float32
) -> Backbone:
    """A random Llama with adapters on its top `adapted` layers, over a frozen trunk."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=eos,
            pad_token_id=eos,  # as SmolLM2 has it: masks must come from lengths
        )
    ).eval()
    backbone = Backbone(model.requires_grad_(False).to(dtype), letters(vocab, eos), "tiny", "0", dtype)
    attach_lora(backbone, rank=4, layers=adapted, seed=seed)
    return backbone


def letters(vocab: int, eos: int | None) -> PreTrainedTokenizerFast:
    """One word per id: a tokenizer whose text shows the ids."""
    words = {f"<{index}>": index for index in range(vocab)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<0>")), eos_token=None if eos is None else f"<{eos}>"
    )


def ppo_folder(path: Path, **config: Any) -> RunFolder:
    """A run folder of kind `ppo` with these settings and no other inputs."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({"kind": "ppo", "config": config, "inputs": {}}), encoding="utf-8")
    return RunFolder(path)


@torch.no_grad()
def logits(backbone: Backbone) -> Tensor:
    """(1, 6, V) of some byte tokens."""
    out: Tensor = backbone.model(input_ids=torch.tensor([[5, 6, 7, 8, 9, 10]])).logits
    return out


def disturb(backbone: Backbone, seed: int = 1) -> None:
    """Move what is trained away from the reference."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in trainable_parameters(backbone):
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
