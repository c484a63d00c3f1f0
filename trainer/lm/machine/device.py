"""Where a model computes: decided once for each run, here, and named nowhere else.

What a model computes with (weights, states, logits, what a decoder remembers) lies on its device. What is known and figured about
texts (token ids, lengths, draws, log-probabilities, values, scores, pooled features, and the losses of these) lies on the host:
it is little, much of it is looked at number by number, and random numbers that are drawn there are the same whatever computes.
docs/decisions/0042.
"""

from __future__ import annotations

from typing import Final

import torch

from trainer.contract.environment import SHARE, run_memory_bytes
from trainer.contract.folder import Refused
from trainer.contract.memory.machine import Machine, this_processor
from trainer.contract.messages import Message

HOST: Final = torch.device("cpu")
GPU: Final = torch.device("cuda")


def choose_device(device: str) -> torch.device:
    """What the setting `device` of a run means on this machine. Raises Refused where it names a GPU and there is none."""
    found = torch.cuda.is_available()
    if device == GPU.type and not found:
        raise Refused(Message("no_gpu_here", setting="sample.device", choice="sample.device.auto"))
    return GPU if found and device != HOST.type else HOST


def on_host(device: torch.device) -> bool:
    """Whether it is the processor itself, for which there are layouts and kernels of its own."""
    return device.type == HOST.type


def machine_of(device: torch.device) -> Machine:
    """What a run may take of the memory that its models lie in."""
    if on_host(device):
        return this_processor(run_memory_bytes())
    return Machine(SHARE * torch.cuda.get_device_properties(device).total_memory, gpu=True, bfloat16=True)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether there are instructions for it; without, it is a detour."""
    if not on_host(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def take_gpu(number: int) -> None:
    """Let `cuda` mean this one of the machine's GPUs, where there are any: each process of a run has its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
