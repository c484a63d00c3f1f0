"""What a project's runs will take of memory at their peak, and whether that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.language.languages import N_, known
from app.language.run_messages import told
from app.runs.limits import limits_of
from app.settings import get_settings
from trainer.contract.config import AskConfig, RunConfig
from trainer.contract.memory.fitting import expected, recomputes, why_not
from trainer.contract.memory.machine import Machine, has_gpu, this_processor
from trainer.contract.memory.shape import Shape, read_shape
from trainer.contract.messages import Message

# The parts of trainer/contract/memory/forecast.py, as a person reads them.
PARTS: Final = {
    "process": N_("program and libraries"),
    "weights": N_("weights of the model"),
    "layouts": N_("matrices laid out for speed"),
    "learned": N_("adapters, gradients and optimiser"),
    "kept": N_("states kept of answers"),
    "cache": N_("keys and values of what is written"),
    "activations": N_("activations of a pass"),
    "logits": N_("logits of a slice"),
}


@dataclass(frozen=True, slots=True)
class Need:
    """Of one kind of run."""

    peak: int  # bytes
    there: int | None  # bytes that a run may take; None of a GPU, whose memory is known to the worker alone
    parts: dict[str, int]  # bytes by the name of the part, the largest first
    computes_twice: bool
    refusal: str  # why it would not be started; "" where it fits


def needs(base_model: str, configs: Mapping[str, RunConfig]) -> dict[str, Need]:
    """By kind of run; without those of a model whose sizes nothing on this machine tells."""
    shape = _shape(base_model)
    return {kind: _need(kind, config, shape) for kind, config in configs.items() if shape and not isinstance(config, AskConfig)}


def does_not_fit(kind: str, config: RunConfig, base_model: str) -> dict[str, Message]:
    """The setting that would make a run fit, with why; nothing where it fits, or nobody can tell."""
    shape = None if isinstance(config, AskConfig) else _shape(base_model)
    if shape is None or isinstance(config, AskConfig):
        return {}
    found = why_not(kind, config, shape, _machine(config))
    return {} if found is None else {found[0]: found[1]}


def _need(kind: str, config: RunConfig, shape: Shape) -> Need:
    assert not isinstance(config, AskConfig)
    machine = _machine(config)
    found, problem = expected(config, shape, machine), why_not(kind, config, shape, machine)
    parts = {known(PARTS[name]): size for name, size in sorted(found.parts.items(), key=lambda part: -part[1]) if size}
    there = None if machine.gpu else int(machine.memory)
    return Need(found.peak, there, parts, recomputes(config, shape, machine), told(problem[1]) if problem else "")


def _shape(base_model: str) -> Shape | None:
    return read_shape(Path(base_model).expanduser()) if base_model else None


def _machine(config: RunConfig) -> Machine:
    """What the run will compute on, as far as the web process can tell."""
    if getattr(config, "device", "auto") != "cpu" and has_gpu():
        return Machine(float("inf"), gpu=True, bfloat16=True)
    return this_processor(limits_of(get_settings()).memory_bytes)
