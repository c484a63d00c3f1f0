from __future__ import annotations

from pathlib import Path

import pytest

from trainer.contract.memory import machine
from trainer.contract.memory.machine import Machine, this_processor


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx2 fma", Machine(8.0, halves=True)),
        ("flags : fpu avx2 avx512f avx512_bf16", Machine(8.0, bfloat16=True)),
        ("flags : fpu", Machine(8.0)),
    ],
)
def test_a_processor_is_known_by_its_flags(
    flags: str, expected: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(machine, "PROCESSORS", tmp_path / "cpuinfo")
    assert this_processor(8.0) == expected


def test_of_a_processor_that_says_nothing_the_least_is_assumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROCESSORS", tmp_path / "nowhere")
    assert this_processor(8.0) == Machine(8.0)
