"""Linear maps that no gradient passes, laid out for many uses: large matrices against a few rows, again and again.

Knows matrices and this processor; no model. Three layouts, each exact to the rounding of the matrix's type:

halves   float16 in memory, float32 in every sum (FBGEMM), where the weights lose nothing by it: those of a model published in
         bfloat16, whose eight significant bits fit float16's eleven. Half the memory to read. Where AVX2 is all there is.
packed   oneDNN's own order, faster than torch's the fewer the rows.
plain    torch's. On a GPU all are, and no copy is made.

Which one depends on weights and processor alone, never on a measurement, so that a run repeated gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.lm.machine.device import on_host

Linear = Callable[[Tensor], Tensor]
HALVES_ON = ("AVX2",)  # the processors it was measured on (bench/generate.py)


def laid_out(weight: Tensor, bias: Tensor | None) -> Linear:
    """x (n, in) to (n, out) by `weight` (out, in) and `bias` (out,), of which copies are kept. No gradient passes."""
    if not on_host(weight.device):
        return lambda x: F.linear(x, weight.detach(), bias)
    weight = weight.detach().contiguous()
    bias = None if bias is None else bias.detach().clone()
    if _halves_pay() and _are_halves(weight):
        return _halves(weight, bias)
    if _packs(weight.dtype):
        return _packed(weight, bias)
    plain = weight.clone()
    return lambda x: F.linear(x, plain, bias)


def _packs(dtype: torch.dtype) -> bool:
    if not torch._C._has_mkldnn or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _halves_pay() -> bool:
    return torch.backends.cpu.get_cpu_capability() in HALVES_ON and torch.backends.quantized.engine in ("x86", "fbgemm")


def _are_halves(weight: Tensor) -> bool:
    """Whether float16 moves the matrix, in norm, by less than float32's own rounding."""
    if weight.dtype != torch.float32:
        return False
    moved = torch.linalg.vector_norm(weight.half().float().sub_(weight))
    return bool(moved < 2.0**-24 * torch.linalg.vector_norm(weight))  # never of what overflows or vanishes, in a norm too


# Internal operators of the pinned torch: its dynamic quantisation's, and those its compiler emits for a CPU.


def _halves(weight: Tensor, bias: Tensor | None) -> Linear:
    halves = torch.ops.quantized.linear_prepack_fp16(weight, bias)
    run: Callable[..., Tensor] = torch.ops.quantized.linear_dynamic_fp16
    return lambda x: run(x, halves)


def _packed(weight: Tensor, bias: Tensor | None) -> Linear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, 32)
    run: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
    return lambda x: run(x, packed, bias, "none", [], "")
