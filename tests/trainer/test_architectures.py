"""A whole small reward run and a small PPO run on bases that remember otherwise than by keys and values."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.trainer.lm.architectures import MADE, make_folder
from tests.trainer.reward import reward_runs
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.outside.opening import open_rewards
from trainer.ppo import run as ppo
from trainer.reward import run as reward
from trainer.reward.scorer import load_scorer

PPO = {
    "updates": 1,
    "episodes": 4,
    "epochs": 1,
    "minibatches": 1,
    "microbatch": 3,
    "max_new_tokens": 6,
    "entropy_floor_nats": -1.0,
    "lora_rank": 2,
    "lora_layers": 1,
}


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        ("jamba", "head"),
        ("lfm2", "lora"),
        *(
            pytest.param(name, method, marks=pytest.mark.nightly)
            for name, method in (("mamba", "head"), ("rwkv", "head"), ("qwen3_next", "lora"))
        ),
    ],
)
def test_a_recurrent_or_hybrid_base_learns_a_reward_and_is_trained_on_it(architecture: str, method: str, tmp_path: Path) -> None:
    base = make_folder(tmp_path / "base", MADE[architecture])
    fitted = reward_runs.make_folder(
        tmp_path / "1", base, reward_runs.prefers_moons, 24, 8, folds=2, method=method, lora_rank=2, lora_layers=1, min_labels=20
    )
    reward.run(fitted)
    assert reward_runs.result_of(fitted)["form"] == method
    run = _ppo_folder(tmp_path / "2", base, fitted.file("checkpoint"))
    ppo.run(run, load_scorer, partial(open_rewards, environment={}))
    assert json.loads(run.file("result.json").read_text(encoding="utf-8"))["updates"] == 1
    before, after = read_jsonl(run.file("metrics.jsonl"))
    assert before["losses/max_ratio"] == pytest.approx(1, abs=1e-4)  # training reads what was sampled as it was sampled
    assert before["kl/exact_nats_per_answer"] == 0
    assert after["kl/exact_nats_per_answer"] > 0


def _ppo_folder(path: Path, base: Path, learned: Path) -> RunFolder:
    path.mkdir()
    inputs = {"base": str(base), "start": None, "reward": str(learned)}
    (path / "run.json").write_text(json.dumps({"kind": "ppo", "config": PPO, "inputs": inputs}), encoding="utf-8")
    run = RunFolder(path)
    asked = [{"prompt_id": at, "messages": [{"role": "user", "content": "moon " * at + "or sea?"}]} for at in range(1, 7)]
    run.append("prompts.jsonl", list(asked))
    return run
