"""What the setting `device` means where there is a GPU, and where there is none."""

from __future__ import annotations

import pytest
import torch

from trainer.contract.config import CONFIGS, config_dict
from trainer.contract.folder import Refused
from trainer.lm.machine.device import GPU, HOST, choose_device, multiplies_bfloat16
from trainer.lm.machine.weight_layouts import laid_out


@pytest.mark.parametrize(
    ("there", "device", "expected"), [(True, "auto", GPU), (False, "auto", HOST), (True, "cpu", HOST), (True, "cuda", GPU)]
)
def test_a_run_computes_where_it_is_told_to(
    there: bool, device: str, expected: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device(device) == expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refused, match="no GPU that PyTorch can use: choose “Automatic” for “Device”"):
        choose_device("cuda")


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "ask"])  # which opens no model here
def test_every_kind_of_run_that_computes_has_the_setting(kind: str) -> None:
    assert config_dict(CONFIGS[kind]())["device"] == "auto"


def test_bfloat16_is_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False})
    for has in (True, False):  # before Ampere it is emulated, which is slower than float32
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=has: including_emulation or has)
        assert multiplies_bfloat16(GPU) == has
    assert not multiplies_bfloat16(HOST)


def test_only_the_processor_has_layouts_of_its_own() -> None:
    """Of a weight elsewhere no copy is made."""
    weight = torch.ones(4, 3, device="meta")
    laid = laid_out(weight, None)
    assert laid(torch.ones(2, 3, device="meta")).shape == (2, 4)
    assert laid.__closure__ is not None
    assert any(cell.cell_contents is weight for cell in laid.__closure__)
