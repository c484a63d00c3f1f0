"""The machine that a run is foretold for: how much memory there is, and in which types its processor computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROCESSORS: Final = Path("/proc/cpuinfo")
GPU_DRIVER: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Machine:
    memory: float  # bytes that a run may take
    gpu: bool = False  # whether the model's part lies in a GPU's
    bfloat16: bool = False  # whether it multiplies such numbers itself
    halves: bool = False  # whether matrices of 16 bits are laid out so (trainer/lm/machine/weight_layouts.py)


def this_processor(memory: float) -> Machine:
    """Of which a run may take so much memory."""
    try:
        flags = set(PROCESSORS.read_text("utf-8").split())
    except OSError:
        flags = set()
    wide = any(flag.startswith("avx512") for flag in flags)
    return Machine(memory, bfloat16=bool(flags & {"avx512_bf16", "amx_bf16"}), halves="avx2" in flags and not wide)


def has_gpu() -> bool:
    """Whether there is one, as the kernel sees it: `auto` then means it."""
    return GPU_DRIVER.exists()
