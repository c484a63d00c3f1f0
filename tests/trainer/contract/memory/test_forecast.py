"""Parts by hand, for SmolLM2's sizes; bench/memory.py holds the sum against the truth."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.contract.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from trainer.contract.memory.forecast import GIB, HEAPED, MIB, forecast, slice_tokens, written_together
from trainer.contract.memory.machine import Machine
from trainer.contract.memory.shape import Shape

SMOL = Shape(576, 30, 9, 3, 64, 1536, 1, 49152, tied=True, sixteen_bits=True, learns_whole=False, ours=True)
BILLIONS = Shape(4096, 32, 32, 8, 128, 14336, 1, 128256, tied=False, sixteen_bits=True, learns_whole=False, ours=True)
HERE = Machine(8 * GIB)
GPU = Machine(80 * GIB, gpu=True, bfloat16=True)


def ppo(**values: Any) -> PPOConfig:
    return PPOConfig(**{"max_prompt_tokens": 512, "max_new_tokens": 256, "episodes": 16, "length_control": "off", **values})


def test_the_parts_of_a_ppo_run_by_hand() -> None:
    parts = forecast(ppo(panel_prompts=0, heldout_every=0), SMOL, HERE).parts
    assert SMOL.parameters == pytest.approx(134.5e6, rel=0.001)
    assert parts["weights"] == SMOL.parameters * 4
    assert parts["layouts"] == (30 * (2 * 576 * 64 * 12 + 3 * 576 * 1536) + 2 * 49152 * 576) * 4
    assert parts["learned"] == 651_264 * 4 * 11
    assert parts["kept"] == 16 * 768 * (2 + 0.3 * 30) * 576 * 4
    assert parts["cache"] == 16 * 768 * 30 * 2 * 3 * 64 * 4


def test_what_learns_keeps_all_of_each_layer_or_its_input_and_one_layer() -> None:
    each = 8 * 576 + 4 * 1536 + 7 * 16 + 9 * 768
    config = ppo(lora_layers=0, microbatch_tokens=1600)  # two texts of 768
    assert forecast(config, SMOL, HERE).parts["activations"] == int(HEAPED * 1536 * 30 * each * 4)
    twice = forecast(config, SMOL, HERE, recompute=True)
    assert int(HEAPED * 1536 * (30 * 576 + each) * 4) < twice.parts["activations"] < 1.3 * GIB


def test_a_pass_and_what_is_written_together_are_bounded_by_tokens() -> None:
    assert slice_tokens(192, rows=8, tokens=2048) == 8 * 192
    assert slice_tokens(768, rows=8, tokens=2048) == 2 * 768
    assert slice_tokens(3000, rows=8, tokens=2048) == 3000
    assert written_together(192, 1000) == 64
    assert written_together(768, 1000) == 21
    assert written_together(768, 16) == 16
    assert written_together(20_000, 16) == 1


def test_matrices_are_laid_out_on_a_processor_alone_in_halves_where_it_reads_them() -> None:
    halves = Machine(8 * GIB, halves=True)
    assert forecast(ppo(), SMOL, halves).parts["layouts"] * 2 == forecast(ppo(), SMOL, HERE).parts["layouts"]
    assert forecast(ppo(), SMOL, GPU).parts["layouts"] == 0


def test_eight_billion_parameters_learn_on_one_gpu_of_80_gib() -> None:
    found = forecast(ppo(lora_layers=0, max_prompt_tokens=1000, max_new_tokens=500), BILLIONS, GPU, recompute=True)
    assert found.parts["weights"] == pytest.approx(8.0e9 * 2, rel=0.02)
    assert 16 * GIB < found.peak < 0.9 * 80 * GIB


@pytest.mark.parametrize("config", [SFTConfig(), RewardConfig(), SampleConfig(), PPOConfig()])
def test_every_kind_of_run_takes_the_process_and_its_weights_at_least(config: Any) -> None:
    found = forecast(config, SMOL, HERE)
    assert found.peak > found.parts["process"] + found.parts["weights"] > 1000 * MIB
    assert found.peak == sum(found.parts.values()) < 4 * GIB
