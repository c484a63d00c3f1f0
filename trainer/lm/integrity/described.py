"""What a model's configuration asks for, looked at before anything is made of it: no code, and no more weights than can be.

A few bytes of a configuration can describe a model of any size. It is laid out without memory, on torch's meta device, and
compared with what its files hold and with the memory there is. Raises BackboneError alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from transformers import initialization

from trainer.contract.environment import memory_bytes
from trainer.contract.messages import Message
from trainer.lm.backbone import BackboneError
from trainer.lm.integrity.watchdog import RanAway, watched

LAYOUT_S: Final = 150.0  # of computing: seconds for a deep model, twenty for the vocabulary of 128,000 of a GGUF file
LAYOUT_BYTES: Final = 4 * 2**30
LARGER: Final = 16  # times the numbers its files hold, more than any packing saves
SMALL: Final = 10_000_000  # numbers that any model may have: what is wrong with it is then said more exactly


def refuse_foreign_code(source: str, folder: Path) -> None:
    """Attention and experts can be computed by kernels, and those can be somebody's on the hub: code, which is never run here."""
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name, value in _everything_in(described):
        if name.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise BackboneError(Message("model_wants_kernel", model=source, kernel=value))


@contextmanager
def laid_out(source: str, more_bytes: int = 0) -> Iterator[None]:
    """Inside, a configuration is read and laid out; for `more_bytes` of memory that files are mapped into, too."""
    try:
        with watched(LAYOUT_S, LAYOUT_BYTES + more_bytes):
            yield
    except RanAway:
        raise BackboneError(Message("model_endless", model=source)) from None


def refuse_oversized(source: str, maker: Any, config: Any, dtype: torch.dtype, held: int) -> None:
    """`maker` is the Auto class, `held` how many numbers the files hold. To be called while it is being `laid_out`."""
    with torch.device("meta"), initialization.no_init_weights(), initialization.meta_device_safe_creation_ops():
        model = maker.from_config(copy.deepcopy(config), dtype=dtype, trust_remote_code=False)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    if numbers > max(LARGER * held, SMALL):
        raise BackboneError(Message("model_larger_than_files", model=source, described=numbers, held=held))
    wanted = numbers * dtype.itemsize + sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    refuse_too_large(source, wanted)


def refuse_too_large(source: str, wanted: int) -> None:
    """Say so before the memory is taken."""
    if wanted > memory_bytes():
        gigabytes, there = (size / 2**30 for size in (wanted, memory_bytes()))
        raise BackboneError(Message("model_larger_than_memory", model=source, gigabytes=gigabytes, there=there))


def _everything_in(described: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of all that is nested in a JSON object; what a value names is named as its parent is."""
    rest = [("", described)]
    while rest:
        name, value = rest.pop()
        if isinstance(value, dict):
            rest += [(inner if not name.endswith("_implementation") else name, one) for inner, one in value.items()]
        elif isinstance(value, list):
            rest += [(name, one) for one in value]
        else:
            yield name, value
