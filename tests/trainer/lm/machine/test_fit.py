"""A run whose model is open: refused where it does not fit, its layers computed twice where it would not otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.tiny import llama_policy
from trainer.contract.config import PPOConfig, RewardConfig
from trainer.contract.environment import RUN_MEMORY
from trainer.contract.folder import Refused
from trainer.lm.backbone import Backbone
from trainer.lm.loading import load_backbone
from trainer.lm.machine.fit import make_room

LONG = PPOConfig(microbatch_tokens=1_000_000, microbatch=1000, max_prompt_tokens=2000, max_new_tokens=200, lora_layers=0)


@pytest.fixture
def backbone() -> Backbone:
    return llama_policy(layers=30, adapted=0)


def test_layers_are_computed_twice_where_the_run_would_not_fit_otherwise(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_MEMORY, "2000")
    make_room(backbone, "ppo", LONG)
    assert not backbone.recompute
    monkeypatch.setenv(RUN_MEMORY, "10")
    make_room(backbone, "ppo", LONG)
    assert backbone.recompute


def test_a_run_that_does_not_fit_is_refused_with_the_setting_to_change(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_MEMORY, "0.7")
    backbone = load_backbone(str(llama_folder))
    make_room(backbone, "reward", RewardConfig())
    with pytest.raises(Refused, match=r"Tokens in a microbatch: The run would take about .* With [\d,]+ it fits\."):
        make_room(backbone, "reward", RewardConfig(microbatch_tokens=1_000_000, batch_size=4096, recompute="on"))


def test_of_a_model_that_tells_no_sizes_only_the_setting_is_known(backbone: Backbone) -> None:
    backbone.plain.config.to_dict = dict
    make_room(backbone, "ppo", PPOConfig(recompute="on"))
    assert backbone.recompute
    assert backbone.device == torch.device("cpu")
