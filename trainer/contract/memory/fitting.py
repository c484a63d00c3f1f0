"""Whether a run fits, and where it does not, which one setting would make it fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trainer.contract.memory.forecast import GIB, Config, Forecast, forecast
from trainer.contract.memory.machine import Machine
from trainer.contract.memory.shape import Shape
from trainer.contract.messages import Message
from trainer.contract.setting import ConfigError

# In this order: what costs nothing but time first, what changes the result last. Each is halved until it fits.
HALVED = ("microbatch_tokens", "batch_size", "episodes", "max_new_tokens", "max_prompt_tokens", "block_tokens", "max_tokens")


def expected(config: Config, shape: Shape, machine: Machine, texts: int = 0) -> Forecast:
    """As the run will be: with layers computed twice where the setting, or the memory, asks for it."""
    return forecast(config, shape, machine, recompute=recomputes(config, shape, machine, texts), texts=texts)


def recomputes(config: Config, shape: Shape, machine: Machine, texts: int = 0) -> bool:
    """Whether the run computes layers twice."""
    wanted = getattr(config, "recompute", "off")
    if wanted != "auto":
        return bool(wanted == "on")
    once, twice = (forecast(config, shape, machine, recompute=way, texts=texts).peak for way in (False, True))
    return once > machine.memory and twice < once


def why_not(kind: str, config: Config, shape: Shape, machine: Machine, texts: int = 0) -> tuple[str, Message] | None:
    """The setting to change, and the sentence that says so; None where the run fits."""
    found = expected(config, shape, machine, texts)
    if found.peak <= machine.memory:
        return None
    needed, there = found.gibibytes, machine.memory / GIB
    for setting, value, smaller in _smaller(config):
        instead = expected(smaller, shape, machine, texts)
        if instead.peak > machine.memory:
            continue
        if isinstance(value, str):
            choice = f"{kind}.{setting}.{value}"
            return setting, Message("fits_with_choice", choice=choice, gigabytes=needed, there=there)
        return setting, Message("fits_with_number", most=value, gigabytes=needed, there=there)
    return "device", Message("fits_with_nothing", gigabytes=needed, there=there)


def _smaller(config: Config) -> Iterator[tuple[str, int | str, Config]]:
    """Settings changed one at a time: name, value, and the settings with it."""
    choices = {"recompute": "on", "dtype": "bfloat16"}
    yield from ((name, value, _with(config, name, value)) for name, value in choices.items() if hasattr(config, name))
    for name in HALVED:
        value = getattr(config, name, 0) // 2
        while value >= 1:
            with contextlib.suppress(ConfigError):  # a multiple of it is needed, or it contradicts another setting
                yield name, value, _with(config, name, value)
            value //= 2


def _with(config: Config, name: str, value: int | str) -> Config:
    changed: dict[str, Any] = {name: value}
    return replace(config, **changed)
