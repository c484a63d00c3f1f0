"""What a run's `dtype` reaches."""

import json
from pathlib import Path

import pytest
import torch

from tests.trainer.reward.reward_runs import make_folder, panel_ids, prefers_moons
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder, write_atomic
from trainer.export.run import export_classifier
from trainer.files import checkpoint
from trainer.lm import loading
from trainer.lm.backbone import BackboneError
from trainer.lm.loading import load_backbone
from trainer.ppo.run import open_policy
from trainer.reward import run as reward
from trainer.reward.scorer import load_scorer


def test_a_reward_that_read_its_base_in_bfloat16_says_so_and_is_opened_so(tmp_path: Path, llama_folder: Path) -> None:
    run = make_folder(tmp_path / "1", llama_folder, prefers_moons, 80, method="head", dtype="bfloat16")
    reward.run(run)
    assert checkpoint.verify(run.file("checkpoint"))["base"]["dtype"] == "bfloat16"
    scorer = load_scorer(run.file("checkpoint"))
    assert scorer.backbone.dtype == torch.bfloat16
    assert float(scorer.score(*panel_ids(run, scorer.backbone)).mean()) == pytest.approx(0, abs=0.05)
    export_classifier(run.file("checkpoint"), tmp_path / "classifier")
    assert json.loads((tmp_path / "classifier" / "config.json").read_text())["dtype"] == "float32"


def test_a_reward_with_adapters_is_not_merged_into_bfloat16(tmp_path: Path, llama_folder: Path) -> None:
    run = make_folder(
        tmp_path / "1", llama_folder, prefers_moons, 40, method="lora", lora_rank=2, lora_layers=1, dtype="bfloat16"
    )
    reward.run(run)
    assert load_scorer(run.file("checkpoint")).backbone.dtype == torch.float32
    with pytest.raises(BackboneError, match="which would be lost in bfloat16: choose “Automatic” for “Arithmetic"):
        load_scorer(run.file("checkpoint"), load_backbone(str(llama_folder), "bfloat16"))


@pytest.mark.parametrize(("adapters", "dtype"), [(True, torch.float32), (False, torch.bfloat16)])
def test_auto_is_float32_for_ppo_under_a_reward_with_adapters(
    adapters: bool, dtype: torch.dtype, tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_faster", lambda _config, _device: "bfloat16")
    (tmp_path / "reward").mkdir()
    if adapters:
        write_atomic(tmp_path / "reward" / "adapter_config.json", "{}")
    (tmp_path / "run").mkdir()
    spec = f'{{"kind": "ppo", "config": {{}}, "inputs": {{"base": "{llama_folder}", "reward": "{tmp_path / "reward"}"}}}}'
    (tmp_path / "run" / "run.json").write_text(spec, encoding="utf-8")
    assert open_policy(RunFolder(tmp_path / "run"), PPOConfig()).dtype == dtype
