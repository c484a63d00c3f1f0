"""Sizes as configurations of families describe them, held against the models themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from tests.trainer.lm.architectures import FAMILIES, make_folder
from tests.trainer.tiny import llama_policy
from trainer.contract.memory.shape import read_shape, shape_of
from trainer.lm.backbone import layer_by_layer, named_trainable

DESCRIBED = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100, "model_type": "llama"}


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Mistral", "Phi-3", "Mixtral (experts)"])
def test_the_parameters_of_a_family_are_counted_to_a_twentieth(family: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", FAMILIES[family])
    shape = read_shape(folder)
    assert shape is not None
    config = AutoConfig.from_pretrained(str(folder))
    numbers = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    assert shape.parameters == pytest.approx(numbers, rel=0.05)
    assert shape.ours == layer_by_layer(config)


def test_the_adapters_of_a_llama_are_counted_to_the_last() -> None:
    backbone = llama_policy(layers=3, adapted=2)
    shape = shape_of(backbone.plain.config.to_dict())
    assert shape is not None
    numbers = sum(parameter.numel() for _, parameter in named_trainable(backbone))
    assert shape.adapters(rank=4, layers=2) == numbers
    assert shape.adapters(rank=4, layers=0) == shape.adapters(rank=4, layers=100) == numbers * 3 // 2


def test_a_policy_has_the_sizes_of_its_base_wherever_the_data_folder_moved(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(DESCRIBED))
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "adapter_config.json").write_text("{}")
    (policy / "manifest.json").write_text(json.dumps({"base": {"source": "/gone", "relative": "../base"}}))
    assert read_shape(policy) == read_shape(tmp_path / "base") != None  # noqa: E711


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hidden_size": "wide"}', json.dumps(DESCRIBED | {"vocab_size": True})])
def test_what_says_no_sizes_has_no_shape(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert read_shape(tmp_path) is None
    assert read_shape(tmp_path / "nowhere") is None
