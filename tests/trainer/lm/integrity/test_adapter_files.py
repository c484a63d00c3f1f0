"""Adapters are safetensors and what ours say; nothing else of peft's reaches it, whatever hash a manifest gives it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.files import checkpoint
from trainer.lm.backbone import BackboneError, attach_lora
from trainer.lm.loading import load_backbone, load_policy, save_policy

OPENERS = [load_backbone, load_policy]


@pytest.fixture
def policy(llama_folder: Path, tmp_path: Path) -> Path:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    save_policy(backbone, tmp_path / "p")
    return tmp_path / "p"


def resaved(policy: Path, change: Callable[[Path], None]) -> str:
    """The same checkpoint with a change, under a manifest whose hashes are right: its author wrote both."""
    manifest = {name: value for name, value in checkpoint.read_manifest(policy).items() if name not in ("files", "format")}
    manifest.pop(checkpoint.OWN_HASH)

    def write(inner: Path) -> None:
        for file in policy.iterdir():
            if file.name != checkpoint.MANIFEST:
                (inner / file.name).write_bytes(file.read_bytes())
        change(inner)

    checkpoint.save(policy.with_name("changed"), write, manifest)
    return str(policy.with_name("changed"))


class Evil:
    """What a pickle can do: anything."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("opened", OPENERS)
def test_adapters_in_a_pickle_are_never_opened(policy: Path, tmp_path: Path, opened: Callable[[str], Any]) -> None:
    def pickle(inner: Path) -> None:
        (inner / "adapter_model.safetensors").unlink()
        torch.save(Evil(tmp_path / "ran"), inner / "adapter_model.bin")

    with pytest.raises(BackboneError, match=r"holds its weights in adapter_model\.bin only, a format that can run code"):
        opened(resaved(policy, pickle))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config"),
        ({"peft_type": "XLORA"}, "peft_type"),
        ({"target_modules": "(a+)+$"}, "target_modules"),
        ({"layers_pattern": "(a+)+$"}, "layers_pattern"),
        ({"layer_replication": [[0, 3]] * 1000}, "layer_replication"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}}, "auto_mapping"),
        ({"r": 10**9}, "r"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
@pytest.mark.parametrize("opened", OPENERS)
def test_adapters_that_ask_for_more_than_ours_are_refused(
    policy: Path, changes: dict[str, Any], name: str, opened: Callable[[str], Any]
) -> None:
    def change(inner: Path) -> None:
        config = json.loads((inner / "adapter_config.json").read_text())
        (inner / "adapter_config.json").write_text(json.dumps(config | changes))

    with pytest.raises(BackboneError, match=rf"its adapters are not such as Tastemaker saves \({name}\)"):
        opened(resaved(policy, change))


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": null}', "[" * 100_000])
def test_a_configuration_that_is_none_is_one_sentence(policy: Path, text: str, opened: Callable[[str], Any]) -> None:
    def change(inner: Path) -> None:
        (inner / "adapter_config.json").write_text(text)

    with pytest.raises(BackboneError):
        opened(resaved(policy, change))


@pytest.mark.parametrize("opened", OPENERS)
def test_ours_open_again_whatever_was_adapted(policy: Path, opened: Callable[[str], Any]) -> None:
    assert opened(resaved(policy, lambda _inner: None)).tokenizer is not None
