"""A GPU that is not there: tensors that say they lie on one, and raise where one meets a tensor of the host.

What may meet what is asked of torch's own FakeTensorMode, operation by operation. It holds no numbers: those are computed on the
host beside it, so that whatever looks at one (where an answer ends, how long the longest is) goes on as it would. C++ takes these
tensors for `meta` ones, whose gradients a torch without CUDA can compute.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorDeviceMismatchError,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from trainer.lm.backbone import Backbone
from trainer.lm.machine.device import GPU, HOST

FIRST = torch.device(GPU.type, 0)
META = torch.device("meta")
ASKED = FakeTensorMode()
KNOWN: dict[Any, list[torch.device | None]] = {}
INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten._index_put_impl_.default}

PACKS = {torch.ops.aten._pack_padded_sequence.default, torch.ops.aten._pad_packed_sequence.default}  # lengths stay on the host


class OnGPU(Tensor):
    """A tensor that says it lies on the GPU; `numbers` are what it holds."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> OnGPU:
        made: OnGPU = Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), dtype=numbers.dtype, device=META
        )
        made.numbers = numbers
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return FIRST

    @property  # type: ignore[override]
    def data(self) -> OnGPU:
        return self.detach()  # type: ignore[return-value]

    @data.setter
    def data(self, other: OnGPU) -> None:
        self.numbers = other.numbers

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(torch.tensor(index, dtype=torch.long).to(FIRST) if isinstance(index, list) else index)

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(torch.tensor(index, dtype=torch.long).to(FIRST) if isinstance(index, list) else index, value)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return computed(func, args, kwargs or {})


class PretendedGPU(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, tensors can be made on the GPU and moved to it and from it."""

    _mode_key = torch._C._TorchDispatchModeKey.FAKE  # else torch looks for CUDA before it asks

    def __enter__(self) -> PretendedGPU:
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *why: object) -> None:
        super().__exit__(*why)  # type: ignore[no-untyped-call]
        torch._C._set_only_lift_cpu_tensors(self._lifted)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives: its numbers, on the devices where torch would leave them. Raises FakeTensorDeviceMismatchError."""
    given, shape = tree_flatten((args, kwargs))
    given = [FIRST if isinstance(one, torch.device) and one != HOST else one for one in given]
    if not any(one is FIRST or isinstance(one, OnGPU) for one in given):
        return func(*args, **kwargs)
    known = _known(func, given, shape)
    numbers = [one.numbers if isinstance(one, OnGPU) else HOST if isinstance(one, torch.device) else one for one in given]
    real_args, real_kwargs = tree_unflatten(numbers, shape)
    found, out_shape = tree_flatten(func(*real_args, **real_kwargs))
    same = {id(number): one for number, one in zip(numbers, given, strict=True) if isinstance(one, OnGPU)}
    devices = known * len(found) if len(known) == 1 else known
    placed = [
        same.get(id(one), one) if id(one) in same or not _goes(one, device) else OnGPU(one)
        for one, device in zip(found, devices, strict=True)
    ]
    return tree_unflatten(placed, out_shape)


def _known(func: Any, given: list[Any], shape: Any) -> list[torch.device | None]:
    """Where torch leaves what comes out, one device if all of it goes there: asked once, for it hangs on nothing else."""
    key = func, *((one.device, one.dim() == 0) if isinstance(one, Tensor) else one is FIRST for one in given)
    if key not in KNOWN:
        found = _devices(func, given, shape)
        if found is None:  # what comes out depends on numbers, and lies where the first tensor does
            found = [next(one for one in given if isinstance(one, Tensor)).device]
        KNOWN[key] = found[:1] if len(set(found)) == 1 else found
    return KNOWN[key]


def _goes(one: Any, device: torch.device | None) -> bool:
    return isinstance(one, Tensor) and device is not None and device.type == GPU.type


def _devices(func: Any, given: list[Any], shape: Any) -> list[torch.device | None] | None:
    """Where torch leaves what comes out; None where it would have to know the numbers."""
    if func in PACKS:
        return [given[0].device, HOST]
    if func in INDEXED and given[0].device == HOST and any(isinstance(one, OnGPU) for one in given[1:]):
        raise FakeTensorDeviceMismatchError(func, HOST, FIRST)  # torch asks this in C++

    def fake(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        real = one.numbers if isinstance(one, OnGPU) else one
        empty = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device=META)
        return FakeTensor(ASKED, empty, one.device)

    args, kwargs = tree_unflatten([fake(one) for one in given], shape)
    try:
        with ASKED:
            out = func(*args, **kwargs)
    except (DataDependentOutputException, DynamicOutputShapeException):
        return None
    except RuntimeError as error:
        if "not linked with support" not in str(error):  # a mask's places are sought in C++, which knows no such GPU
            raise
        return None
    return [one.device if isinstance(one, Tensor) else None for one in tree_flatten(out)[0]]


def moved(backbone: Backbone) -> Backbone:
    """The model on the pretended GPU, in place."""
    for module in backbone.model.modules():
        for kept in (module._parameters, module._buffers):
            kept |= {name: _moved(tensor) for name, tensor in kept.items() if tensor is not None}
    for weights in (backbone.reference_weights, backbone.base_weights):
        if weights is not None:
            weights |= {name: _moved(tensor) for name, tensor in weights.items() if not isinstance(tensor, OnGPU)}
    return backbone


def _moved(tensor: Tensor) -> Tensor:
    there = OnGPU(tensor.detach().clone())
    return nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
