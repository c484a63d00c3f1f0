"""A checkpoint of which one bit is not what was written is never loaded: a policy, a reward, the state of a run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import torch

from trainer.contract.folder import RunFolder
from trainer.files.checkpoint import CheckpointError, load_state, save_state
from trainer.lm.backbone import BackboneError, attach_lora
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.reward.scorer import load_scorer

FLIPS = 1000  # of each kind, half of them in the manifest and half anywhere


def loaded(folder: Path, opens: Callable[[], bool]) -> int:
    """How many of so many flipped bits `opens` did not notice."""
    draw = random.Random(0)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = next(path for path in files if path.name == "manifest.json")
    count = 0
    for flip in range(FLIPS):
        path = manifest if flip % 2 else draw.choice(files)
        at, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            was = file.read(1)[0]
            file.seek(at)
            file.write(bytes([was ^ bit]))
        count += opens()
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([was]))
    assert opens()
    return count


def opened(load: Callable[[str], object], folder: Path) -> Callable[[], bool]:
    def opens() -> bool:
        try:
            load(str(folder))
        except (BackboneError, CheckpointError):
            return False
        return True

    return opens


def test_no_policy_with_a_flipped_bit_is_loaded(llama_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    save_policy(backbone, tmp_path / "p", figures={"learning_rate": 1e-05})
    assert loaded(tmp_path / "p", opened(load_policy, tmp_path / "p")) == 0


def test_no_reward_with_a_flipped_bit_is_loaded(done: RunFolder) -> None:
    folder = done.file("checkpoint")
    assert loaded(folder, opened(load_scorer, folder)) == 0


def test_no_state_with_a_flipped_bit_is_loaded(tmp_path: Path) -> None:
    save_state(tmp_path, 3, {"weight": torch.arange(12.0), "step": 3})
    assert loaded(tmp_path, lambda: load_state(tmp_path) is not None) == 0
