"""PPO with a next-token term on demonstrations beside (PPO-ptx): a step, a run that unlearns without it, a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.trainer.ppo.ppo_runs import PROMPTS, SMALL, even_share, move_adapters
from tests.trainer.ppo.test_run import make_reward, make_run, told, trained
from tests.trainer.sft.test_packing import texts
from tests.trainer.tiny import llama_policy, ppo_folder, simple_policy
from trainer.__main__ import main
from trainer.contract.config import PPOConfig
from trainer.contract.english import english
from trainer.contract.folder import EXIT_DONE, EXIT_REFUSED
from trainer.contract.messages import from_json
from trainer.lm.backbone import Backbone
from trainer.lm.generate import Generated
from trainer.lm.slices import Budget
from trainer.ppo.evaluate_rollout import evaluate
from trainer.ppo.learner import Learner
from trainer.ppo.reward import Rule
from trainer.ppo.run import optimise, train
from trainer.sft.documents import Sequence
from trainer.sft.packing import loss_sum, predicted
from trainer.sft.ptx import Demonstrations

pytestmark = pytest.mark.usefixtures("one_thread")

ANSWERS = [Generated([3 + (row * 7 + at) % 30 for at in range(1 + row % 4)], "eos") for row in range(8)]
ODD = [Sequence([5, 6, 7 + at % 3, *(9 + 2 * ((at + place) % 6) for place in range(4))], 3) for at in range(7)]  # answers all odd


def first_gradients(backbone: Backbone, advantage: float, weight: float, **config: Any) -> list[Tensor]:
    """Of a step on answers that were paid `advantage` per token, not cut; the value head learns nothing."""
    settings = PPOConfig(**(SMALL | {"epochs": 1, "minibatches": 1, "vf_coef": 0.0, "max_grad_norm": 1e6} | config))
    settings = PPOConfig(**(vars(settings) | {"ptx_weight": weight}))
    learner = Learner(backbone, settings, len(PROMPTS))
    move_adapters(backbone)
    rollout = evaluate(learner, settings, Rule(even_share), PROMPTS[:8], ANSWERS, None, lambda: None)
    advantages = torch.where(rollout.measured.mask, advantage, 0.0)
    term = Demonstrations(backbone, texts(9), per_step=5, budget=Budget(3, 2048), seed=0) if weight else None
    found: list[Tensor] = []

    def watch(taken: torch.optim.Optimizer, *_given: Any) -> None:
        found.extend(one.grad.clone() for one in learner.policy.values() if one.grad is not None)

    hook = register_optimizer_step_pre_hook(watch)
    try:
        figures = optimise(learner, settings, rollout, advantages, torch.zeros_like(advantages), lambda: None, term)
    finally:
        hook.remove()
    assert ("losses/ptx_loss" in figures) == (weight > 0)
    return found


@pytest.mark.parametrize("name", ["llama", "simple"])
def test_without_an_advantage_a_step_is_an_sft_step_with_one_it_is_the_sum(name: str) -> None:
    def policy() -> Backbone:
        return llama_policy() if name == "llama" else simple_policy(vocab=40, eos=2)

    alone = first_gradients(policy(), 0.0, 0.5)
    backbone = policy()
    move_adapters(backbone)
    batch = Demonstrations(backbone, texts(9), per_step=5, budget=Budget(3, 2048), seed=0).batch(0)
    rows = [[texts(9)[at]] for at in batch]
    torch.autograd.backward(0.5 * loss_sum(backbone, rows, False) / predicted(rows))
    sft = [parameter.grad for parameter in backbone.model.parameters() if parameter.grad is not None]
    torch.testing.assert_close(alone, sft, rtol=1e-3, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in alone) > 1e-2

    paid, both = first_gradients(policy(), 0.7, 0.0), first_gradients(policy(), 0.7, 0.5)
    torch.testing.assert_close(both, [one + other for one, other in zip(paid, alone, strict=True)], rtol=1e-3, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in paid) > 1e-2


def losses(path: Path, weight: float) -> tuple[float, float, list[float]]:
    """Of demonstrations that say odd tokens, before and after a run that is paid for even ones, and as it told of them."""
    backbone = llama_policy()
    folder = ppo_folder(path, **(SMALL | {"updates": 12, "kl_stop_nats": 1e6, "length_control": "off", "ptx_weight": weight}))
    assert isinstance(folder.config, PPOConfig)
    term = Demonstrations(backbone, ODD, per_step=4, budget=Budget(3, 2048), seed=0)
    before = term.loss()
    figures = train(folder, folder.config, backbone, Rule(even_share), PROMPTS, PROMPTS[:2], (), term if weight else None)
    assert figures.get("demonstrations") == (7 if weight else None)
    return before, term.loss(), [row["losses/ptx_loss"] for row in told(path, "metrics.jsonl") if "losses/ptx_loss" in row]


def test_demonstrations_become_likelier_beside_and_not_without(tmp_path: Path) -> None:
    before, after, said = losses(tmp_path / "beside", 1.0)
    assert after < before - 2
    assert len(said) == 12
    assert said[-1] < said[0] - 2
    assert said[0] == pytest.approx(before, abs=0.5)
    first, unlearned, silent = losses(tmp_path / "without", 0.0)
    assert first == before
    assert unlearned > first - 0.3
    assert silent == []


def write_rewrites(folder: Path) -> None:
    talk = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Green."}]
    (folder / "rewrites.jsonl").write_text(json.dumps({"messages": talk}) + "\n", encoding="utf-8")


def test_with_the_weight_at_0_not_a_bit_changes_and_with_one_the_run_says_what_it_learned_from(
    tmp_path: Path, llama_folder: Path
) -> None:
    reward = make_reward(tmp_path / "reward", llama_folder)
    paths = {}
    settings: dict[str, dict[str, Any]] = {"plain": {}, "unread": {"ptx_weight": 0.0}, "beside": {"ptx_weight": 0.5}}
    for name, config in settings.items():
        paths[name] = make_run(tmp_path / name, llama_folder, reward, **config)
        if name != "plain":
            write_rewrites(paths[name])
        assert main(["ppo", str(paths[name])]) == EXIT_DONE
    plain, unread, beside = (trained(path) for path in paths.values())
    assert all(torch.equal(one, other) for one, other in zip(plain, unread, strict=True))
    assert told(paths["plain"], "metrics.jsonl") == told(paths["unread"], "metrics.jsonl")
    assert not all(torch.equal(one, other) for one, other in zip(plain, beside, strict=True))
    result = json.loads((paths["beside"] / "result.json").read_text())
    assert (result["demonstrations"], result["cut_demonstrations"]) == (1, 0)
    assert "- rewrites: 1" in (paths["beside"] / "checkpoint" / "README.md").read_text(encoding="utf-8")


def test_a_run_that_asks_for_demonstrations_and_has_none_is_refused(tmp_path: Path, llama_folder: Path) -> None:
    folder = make_run(tmp_path / "run", llama_folder, make_reward(tmp_path / "reward", llama_folder), ptx_weight=0.5)
    assert main(["ppo", str(folder)]) == EXIT_REFUSED
    reason = english(from_json(json.loads((folder / "result.json").read_text())["reason"]))
    assert "“Weight of demonstrations” is more than 0, and there is no demonstration to learn from" in reason
