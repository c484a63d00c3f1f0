import pytest
import torch
from torch.nn import functional as F

from trainer.lm.machine import weight_layouts
from trainer.lm.machine.weight_layouts import laid_out


def matrix(kind: str) -> torch.Tensor:
    draw = torch.randn(50, 600, generator=torch.Generator().manual_seed(0))
    return {"bfloat16's": draw.bfloat16().float(), "float16's": draw.half().float(), "float32's": draw}[kind]


def insist_on_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this processor too, if it has what they need."""
    if torch.backends.quantized.engine not in ("x86", "fbgemm") or torch.backends.cpu.get_cpu_capability() in (
        "DEFAULT",
        "NO AVX",
    ):
        pytest.skip("this processor has no FBGEMM")
    monkeypatch.setattr(weight_layouts, "HALVES_ON", (torch.backends.cpu.get_cpu_capability(),))


@pytest.mark.parametrize("layout", ["halves", "packed", "plain"])
@pytest.mark.parametrize("kind", ["bfloat16's", "float16's", "float32's"])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_every_layout_is_the_same_map(kind: str, rows: int, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if layout == "halves":
        insist_on_halves(monkeypatch)
    else:
        monkeypatch.setattr(weight_layouts, "HALVES_ON", ())
    if layout == "plain":
        monkeypatch.setattr(torch._C, "_has_mkldnn", False)
    weight, x = matrix(kind), torch.randn(rows, 600, generator=torch.Generator().manual_seed(1))
    for bias in (None, torch.arange(50.0)):
        torch.testing.assert_close(laid_out(weight, bias)(x), F.linear(x, weight, bias), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("layout", ["packed", "plain"])
def test_a_bfloat16_matrix_is_laid_out_where_the_processor_can_and_plain_elsewhere(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "plain":
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
        monkeypatch.setattr(weight_layouts, "_packed", lambda *_: pytest.fail("this processor could not"))
    elif not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor lays out no bfloat16")
    weight, x = matrix("bfloat16's").bfloat16(), torch.randn(7, 600, generator=torch.Generator().manual_seed(1)).bfloat16()
    for bias in (None, torch.arange(50.0).bfloat16()):
        torch.testing.assert_close(laid_out(weight, bias)(x), F.linear(x, weight, bias), rtol=2.0**-7, atol=2.0**-5)


def test_halves_are_for_float32_matrices_that_lose_nothing_by_it() -> None:
    assert weight_layouts._are_halves(matrix("bfloat16's"))
    assert weight_layouts._are_halves(matrix("float16's"))
    assert not weight_layouts._are_halves(matrix("float32's"))
    assert not weight_layouts._are_halves(matrix("bfloat16's").bfloat16())
    assert not weight_layouts._are_halves(matrix("bfloat16's") * 2.0**20)  # past float16's largest number
    assert not weight_layouts._are_halves(matrix("bfloat16's") * 2.0**-20)  # under its smallest ones
    assert not weight_layouts._are_halves(torch.full((4, 4), 3e38))  # its norm is past float32
    assert not weight_layouts._are_halves(torch.full((4, 4), 1e-30))  # its norm is under float32
    few = matrix("bfloat16's")
    few[0, 0] = 2.0**-20 * 1.1  # as published weights have some: less than float32's rounding of a sum
    assert weight_layouts._are_halves(few)


def test_what_training_does_to_the_weights_later_does_not_reach_the_copy() -> None:
    for kind in ("bfloat16's", "float32's"):
        weight, bias, x = matrix(kind), torch.ones(50), torch.ones(2, 600)
        given = laid_out(weight, bias)
        before = given(x)
        weight.add_(1)
        bias.add_(1)
        assert torch.equal(given(x), before)
