"""How many threads the warm process computes with; that it starts, answers and ends is in tests/trainer/worker/test_warm.py."""

from __future__ import annotations

import pytest
import torch

from trainer.serve import process


@pytest.mark.parametrize(("usual", "wanted", "found"), [(1, 0, 1), (2, 0, 1), (16, 0, 15), (16, 4, 4), (2, 3, 3)])
def test_a_processor_is_left_to_who_passes_the_words_on(
    usual: int, wanted: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: usual)
    assert process.threads(wanted) == found
