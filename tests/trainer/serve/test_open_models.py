"""Which models stay open: the base is shared, and the least used is let go where there is no room."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from trainer.contract.folder import RunFolder
from trainer.contract.serving.questions import Models
from trainer.serve.open_models import OpenModels


def test_a_policy_is_opened_once_and_under_the_day_of_whoever_asks(llama_folder: Path, tmp_path: Path) -> None:
    models = OpenModels(tmp_path)
    first = models.policy(Models(str(llama_folder), "", "2026-01-01"))
    again = models.policy(Models(str(llama_folder), "", "2026-02-03"))
    assert again is first
    assert first.backbone.day == date(2026, 2, 3)


def test_a_path_within_the_data_folder_is_taken_from_there(llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama_folder, tmp_path / "runs" / "7")
    found = OpenModels(tmp_path).policy(Models("runs/7", "", "2026-01-01"))
    assert found.backbone.source == str(tmp_path / "runs" / "7")


def test_without_room_the_one_that_was_asked_longest_ago_goes(llama_folder: Path, simple_lm_folder: Path, tmp_path: Path) -> None:
    models = OpenModels(tmp_path, room_bytes=1)
    first = models.policy(Models(str(llama_folder), "", "2026-01-01"))
    assert models.policy(Models(str(llama_folder), "", "2026-01-01")) is first, "one stays, however large"
    models.policy(Models(str(simple_lm_folder), "", "2026-01-01"))
    assert models.policy(Models(str(llama_folder), "", "2026-01-01")) is not first


def test_with_room_both_stay(llama_folder: Path, simple_lm_folder: Path, tmp_path: Path) -> None:
    models = OpenModels(tmp_path)
    first = models.policy(Models(str(llama_folder), "", "2026-01-01"))
    models.policy(Models(str(simple_lm_folder), "", "2026-01-01"))
    assert models.policy(Models(str(llama_folder), "", "2026-01-01")) is first


def test_a_reward_works_on_the_policys_own_base_and_a_newer_one_takes_its_place(llama_done: RunFolder, tmp_path: Path) -> None:
    base, reward = str(llama_done.inputs["base"]), str(llama_done.file("checkpoint"))
    models = OpenModels(tmp_path)
    scorer = models.scorer(Models(base, reward, "2026-01-01"))
    policy = models.policy(Models(base, reward, "2026-01-01"))
    assert scorer.backbone is policy.backbone
    assert models.scorer(Models(base, reward, "2026-01-01")) is scorer
    shutil.copytree(reward, tmp_path / "newer")
    newer = models.scorer(Models(base, "newer", "2026-01-01"))
    assert newer is not scorer
    assert list(policy.scorers) == [str(tmp_path / "newer")]


def test_a_reward_with_adapters_has_its_base_in_full(tuned: RunFolder, tmp_path: Path) -> None:
    models = OpenModels(tmp_path)
    policy = models.policy(Models(str(tuned.inputs["base"]), str(tuned.file("checkpoint")), "2026-01-01"))
    assert str(policy.backbone.dtype) == "torch.float32"
