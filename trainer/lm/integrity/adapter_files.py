"""The files of adapters, before peft opens them: safetensors alone, and a configuration that says what ours say and no more.

peft's configurations can name modules to import, adapters on the hub, patterns that match for ever and layers to copy; without
safetensors it takes a pickle. Raises BackboneError alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from peft import LoraConfig
from safetensors import safe_open

from trainer.contract.messages import Message
from trainer.lm.backbone import BackboneError
from trainer.lm.integrity.model_files import refuse_broken, refuse_giants, without_safetensors

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
OURS: Final = frozenset(
    {
        *("base_model_name_or_path", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform", "lora_alpha"),
        *("lora_dropout", "peft_type", "peft_version", "r", "target_modules", "task_type"),
    }
)


def refuse_strange_adapters(folder: Path) -> None:
    """Refuse what `attach_lora` would not have written, whatever the manifest says of it."""
    refuse_giants(folder)
    if not (folder / WEIGHTS).exists():
        raise BackboneError(without_safetensors(folder))
    refuse_broken(folder / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    defaults = LoraConfig().to_dict()
    strange = sorted(name for name, value in config.items() if name not in OURS and value and value != defaults.get(name))
    strange += [name for name, right in _ours(config).items() if not right]
    if strange:
        raise BackboneError(Message("adapters_otherwise", folder=str(folder), name=strange[0]))
    with safe_open(folder / WEIGHTS, "pt") as file:
        ranks = {file.get_slice(name).get_shape()[0] for name in file.keys() if ".lora_A." in name}  # noqa: SIM118, no dict
    if ranks != {config["r"]}:
        raise BackboneError(Message("adapters_otherwise", folder=str(folder), name="r"))


def _ours(config: dict[str, Any]) -> dict[str, bool]:
    """Whether the settings that ours have are of the form that ours have."""
    targets, pattern = config.get("target_modules"), config.get("layers_pattern")
    return {
        "peft_type": config.get("peft_type") == "LORA",
        "target_modules": isinstance(targets, list) and all(isinstance(name, str) for name in targets),
        "layers_pattern": pattern is None or (isinstance(pattern, str) and pattern.isidentifier()),
    }
