"""The bench of a GPU is tried here on a tiny model: only hardware is missing to it."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from bench import gpu


def test_it_measures_everything_where_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--rows", "4", "--prompt-tokens", "12", "--answer-tokens", "6"])
    assert gpu.main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["furthest_logprob_from_host"] < 1e-4
    assert min(figures[name] for name in ("written_tokens_per_s", "read_tokens_per_s", "ppo_s_per_update")) > 0


def test_it_refuses_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 2
