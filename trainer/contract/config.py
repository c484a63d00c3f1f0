"""What a person may set on a run: one frozen dataclass per kind of run.

Standard library only, because the web form, the API, the CLI and the documentation all read these classes.
A field carries its type, default, label, help, unit and bounds. Unknown keys, values out of bounds and contradictions fail in
construction, all of them at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainer.contract.messages import Message
from trainer.contract.offline_config import PreferenceConfig, SFTConfig
from trainer.contract.ppo_config import PPOConfig
from trainer.contract.reward_config import RewardConfig
from trainer.contract.sample_config import AskConfig, SampleConfig
from trainer.contract.setting import ConfigError, settings_of, typed

__all__ = [
    "CONFIGS",
    "AskConfig",
    "ConfigError",
    "PPOConfig",
    "PreferenceConfig",
    "RewardConfig",
    "RunConfig",
    "SFTConfig",
    "SampleConfig",
    "make_config",
]

RunConfig = SampleConfig | AskConfig | RewardConfig | PPOConfig | PreferenceConfig | SFTConfig

CONFIGS: dict[str, type[RunConfig]] = {
    "sample": SampleConfig,
    "ask": AskConfig,
    "reward": RewardConfig,
    "ppo": PPOConfig,
    "preference": PreferenceConfig,
    "sft": SFTConfig,
}


def make_config(kind: str, values: Mapping[str, Any]) -> RunConfig:
    """Build the config of a run kind from plain JSON values.

    Raises ConfigError on an unknown kind or key, values of the wrong type or out of bounds, and contradictions.
    """
    if kind not in CONFIGS:
        raise ConfigError({"kind": Message("must_be_one_of", choices=", ".join(CONFIGS))})
    clean, problems = typed(CONFIGS[kind], values)
    try:
        config = CONFIGS[kind](**clean)
    except ConfigError as error:
        problems |= {name: why for name, why in error.problems.items() if not _about(why, problems)}
    if problems:
        order = [*settings_of(CONFIGS[kind]), *problems]
        raise ConfigError({name: problems[name] for name in order if name in problems})
    return config


def config_dict(config: RunConfig) -> dict[str, Any]:
    """The config as plain JSON values, every field written out."""
    return dataclasses.asdict(config)


def label_of(setting: str) -> str:
    """As the pages name it: "ppo.clip" -> "Clip range ε", a choice "ppo.length_control.off" -> "Let it change".

    By its own name where there is no such setting.
    """
    kind, name, *choice = setting.split(".") if "." in setting else ("", setting)
    known = settings_of(CONFIGS[kind]) if kind in CONFIGS else {}
    if name not in known:
        return humanized(name)
    return known[name].choices.get(choice[0], choice[0]) if choice else known[name].label


def humanized(name: str) -> str:
    """ "max_new_tokens" -> "Max new tokens"."""
    return name.replace("_", " ").capitalize()


def _about(contradiction: Message, problems: Mapping[str, Message]) -> bool:
    """Whether it contradicts a setting that could not be read and was taken as its default."""
    return str(contradiction.arguments.get("setting", "")).rpartition(".")[2] in problems
