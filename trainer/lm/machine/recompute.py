"""Layers that keep their input alone for the backward pass, and compute all else again there: a third slower, far less memory.

Chen et al. 2016, arXiv:1604.06174, known as gradient or activation checkpointing. The gradients are the same. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(step: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What `step` gives; where gradients are wanted, what it computed on the way is not kept. It must draw nothing."""
    if not torch.is_grad_enabled():
        return step(*given, **named)
    return checkpoint(step, *given, use_reentrant=False, preserve_rng_state=False, **named)


@contextmanager
def recomputing(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, these layers run so, whoever calls them."""
    changed = list(layers)
    for layer in changed:
        layer.forward = partial(recomputed, layer.forward)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward
