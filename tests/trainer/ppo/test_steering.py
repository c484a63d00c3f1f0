"""KL is brought to its target: by hand, and in steered runs of a tiny Llama with adapters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.ppo.ppo_runs import learn, move_adapters
from tests.trainer.tiny import llama_policy, ppo_folder
from trainer.contract.config import PPOConfig
from trainer.contract.folder import Refused, read_jsonl
from trainer.contract.setting import ConfigError
from trainer.lm.backbone import Backbone, named_trainable, pin_reference
from trainer.ppo.advantages import adapted_beta
from trainer.ppo.learner import Learner
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt, Trajectory
from trainer.ppo.run import train
from trainer.ppo.steering import AIM, anchor, anchor_kept, course, share_to_keep, steered_beta, step_back

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [Prompt(index, [5, 6, *range(7, 8 + index % 4)]) for index in range(40)]
TARGET = 6.0


def fifths(_prompts: Ids, answers: Ids) -> Tensor:
    """A taste of deviation about 1, as every reward checkpoint has, that is not satisfied before a policy has moved far."""
    return torch.tensor([5 * sum(token % 5 == 0 for token in given) / len(given) - 1 for given in answers])


def run(path: Path, seed: int, **config: Any) -> list[dict[str, Any]]:
    """The metrics of a steered run, all else at the defaults. Only what ends a run is out of the way, and length."""
    apart = {"length_control": "off", "entropy_floor_nats": -1.0, "kl_controller": "steered", "kl_target_nats": TARGET}
    folder = ppo_folder(path, **(apart | {"seed": seed} | config))
    assert isinstance(folder.config, PPOConfig)
    train(folder, folder.config, llama_policy(layers=6, adapted=4, seed=seed), Rule(fifths), PROMPTS, [])
    return list(read_jsonl(path / "metrics.jsonl"))


def test_beta_by_hand() -> None:
    half = {"done": 20, "updates": 40}  # three quarters of the way, so the course is at 9/16
    assert course(**half) == pytest.approx(9 / 16)
    assert steered_beta(0.1, 1.0, 1.0, **half) == pytest.approx(0.1)
    assert steered_beta(0.1, 1.5, 1.0, **half) == pytest.approx(0.1 * math.exp(2 * 0.5 + 0.5 / 2))
    assert steered_beta(0.1, 100.0, 10.0, **half) == pytest.approx(0.1 * math.exp(1 / 2))
    assert steered_beta(0.1, 0.9, 0.8, **half) == pytest.approx(0.1 * math.exp(2 * 0.1))  # ahead of the course
    assert steered_beta(0.1, 0.3, 0.3, **half) == pytest.approx(0.1 * (0.3 * 16 / 9) ** 0.5)
    assert steered_beta(0.1, 0.0, 0.0, **half) == pytest.approx(0.1 * math.exp(-2 / 2))
    assert steered_beta(0.1, 0.0, 0.0, done=0, updates=40) == pytest.approx(0.1)
    assert steered_beta(0.0, 1.5, 1.0, **half) == pytest.approx(1e-4 * math.exp(1.25))  # no factor moves 0


def test_the_weight_of_the_way_from_the_base_by_hand() -> None:
    assert anchor(0.0, 29.0, 30.0) == 0
    assert anchor(0.0, 45.0, 30.0) == pytest.approx(0.3 * math.log(1.5))
    assert anchor_kept(0.0, 29.0, 30.0) == 0
    assert anchor_kept(0.02, 45.0, 30.0) == pytest.approx(0.02 + 0.1 * math.log(1.5))
    assert anchor_kept(0.02, 29.0, 30.0) == pytest.approx(0.02 + 0.1 * math.log(29 / 30))  # fades once it is back
    assert anchor(0.05, 29.0, 30.0) == pytest.approx(0.05 + 0.3 * math.log(29 / 30))
    assert anchor_kept(2.0, 1e9, 30.0) == 2
    assert anchor(0.0, -0.2, 30.0) == 0  # a sampled KL may be negative


def test_what_a_policy_that_went_too_far_may_keep() -> None:
    config = PPOConfig(kl_controller="steered", kl_target_nats=6.0, kl_stop_nats=40.0)
    assert share_to_keep(config, 8.9, last=False) is None
    assert share_to_keep(config, 24.0, last=False) == pytest.approx(0.25**0.25)
    assert share_to_keep(config, 7.4, last=True) is None
    assert share_to_keep(config, 8.64, last=True) == pytest.approx((6 / 8.64) ** 0.25)
    assert share_to_keep(PPOConfig(kl_controller="steered", kl_target_nats=6.0, kl_stop_nats=8.0), 8.5, last=False) is not None
    for other in (PPOConfig(kl_controller="ziegler"), PPOConfig(adaptive_kl=False)):
        assert share_to_keep(other, 24.0, last=True) is None


def test_a_step_back_lies_on_the_way_from_the_start() -> None:
    backbone = llama_policy()
    policy = dict(named_trainable(backbone))
    start = {name: parameter.detach().clone() for name, parameter in policy.items()}
    with torch.no_grad():
        for parameter in policy.values():
            parameter.add_(1.0)
    step_back(policy, start, 0.25)
    for name, parameter in policy.items():
        torch.testing.assert_close(parameter.detach(), start[name] + 0.25)


@pytest.mark.parametrize("controller", ["steered", "ziegler"])
def test_beta_follows_the_controller_that_the_settings_name(tmp_path: Path, controller: str) -> None:
    learn(tmp_path, llama_policy(), kl_controller=controller, updates=5, beta=0.1, kl_target_nats=2.0)
    rows = list(read_jsonl(tmp_path / "metrics.jsonl"))
    kl = [row["kl/exact_nats_per_answer"] for row in rows]
    expected = [0.1]
    for done in range(5):
        if controller == "ziegler":
            expected.append(adapted_beta(expected[-1], kl[done], 2.0, answers=8, horizon=2000))
        else:
            now, before = kl[done] / (AIM * 2.0), kl[done - 1] / (AIM * 2.0) if done else 0.0
            expected.append(steered_beta(expected[-1], now, before, done, updates=5))
    assert [row["kl/beta"] for row in rows] == pytest.approx(expected)
    assert expected[-1] != pytest.approx(0.1, rel=1e-3)


FAR: dict[str, Any] = {"learning_rate": 0.05, "updates": 4, "kl_target_nats": 0.3, "kl_stop_nats": 1e6, "beta": 1e-6}


def test_a_policy_that_went_too_far_is_taken_back_before_it_learns_more(tmp_path: Path) -> None:
    free = learn(tmp_path / "free", llama_policy(), kl_controller="ziegler", **FAR)
    held = learn(tmp_path / "held", llama_policy(), kl_controller="steered", **FAR)
    assert free["taken_back"] == 0
    assert held["taken_back"] > 0
    assert held["kl_nats_per_answer"] < free["kl_nats_per_answer"] / 2


def test_at_most_three_times_and_then_the_guards_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr("trainer.ppo.learner.step_back", lambda policy, start, share: shares.append(share))  # brings it nowhere
    with pytest.raises(Refused, match=r"past the limit of 0\.4"):
        learn(tmp_path, llama_policy(), kl_controller="steered", **(FAR | {"kl_stop_nats": 0.4}))
    assert len(shares) == 3


def test_a_policy_that_begins_away_from_its_reference_is_not_taken_back(tmp_path: Path) -> None:
    """Where it began is no nearer to the reference, which KL is counted from."""
    backbone = llama_policy()
    move_adapters(backbone)
    assert learn(tmp_path, backbone, kl_controller="steered", **FAR)["taken_back"] == 0
    moved = llama_policy()
    move_adapters(moved)
    pin_reference(moved)
    assert learn(tmp_path / "pinned", moved, kl_controller="steered", **FAR)["taken_back"] > 0


SHORT: dict[str, Any] = {"max_new_tokens": 12, "epochs": 2, "kl_target_nats": 2.0}


def round_of(path: Path, backbone: Backbone, **config: Any) -> list[dict[str, Any]]:
    """The metrics of a round's PPO at the defaults, but for shorter answers and a nearer target."""
    folder = ppo_folder(path, **({"length_control": "off", "entropy_floor_nats": -1.0} | SHORT | config))
    assert isinstance(folder.config, PPOConfig)
    train(folder, folder.config, backbone, Rule(fifths), PROMPTS, [])
    return list(read_jsonl(path / "metrics.jsonl"))


@pytest.mark.nightly
def test_a_later_round_counts_from_where_it_starts_and_is_held_near_the_base(tmp_path: Path) -> None:
    """Two rounds end a target from where they began; the second goes less far from the base where its budget says so."""
    backbone = llama_policy(layers=6, adapted=4)
    first = round_of(tmp_path / "1", backbone)
    weights = {name: parameter.detach().clone() for name, parameter in named_trainable(backbone)}
    found = {}
    for budget in (1e6, 1.0):
        with torch.no_grad():
            for name, parameter in named_trainable(backbone):
                parameter.copy_(weights[name])
        pin_reference(backbone)
        found[budget] = round_of(tmp_path / str(budget), backbone, base_budget_nats=budget, seed=1)
    free, held = found[1e6], found[1.0]
    for rows in (first, free):
        assert rows[-1]["kl/exact_nats_per_answer"] == pytest.approx(2, rel=0.25)
        assert {row["kl/base_weight"] for row in rows} == {0.0}
    assert free[0]["kl/exact_nats_per_answer"] == pytest.approx(0, abs=1e-5)
    assert free[0]["kl/from_base_nats_per_answer"] == pytest.approx(2, rel=0.5)
    assert free[-1]["kl/from_base_nats_per_answer"] > 4
    assert held[-1]["kl/from_base_nats_per_answer"] < 2


def test_a_way_from_a_base_that_is_not_the_reference_costs_what_is_past_its_budget() -> None:
    config = PPOConfig(base_budget_nats=3.0)
    learner = Learner(llama_policy(), config, prompts=4)
    zeros, mask = torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)
    near = Trajectory(zeros, zeros - 1, zeros, zeros, zeros, torch.zeros(2), mask)
    learner.hold_to_base(config, near)
    assert learner.penalty(near).flatten().tolist() == pytest.approx([config.beta] * 4)
    far = near._replace(base_logprobs=torch.tensor([[-2.0, -4.0], [-6.0, 0.0]]))  # 6 nats an answer
    learner.hold_to_base(config, far)
    weight = (0.3 + 0.1) * math.log(2)
    expected = [config.beta + weight * nats for nats in (2, 4, 6, 0)]
    assert learner.penalty(far).flatten().tolist() == pytest.approx(expected)


def test_the_limit_is_twice_the_target_where_none_is_set() -> None:
    assert PPOConfig(kl_target_nats=20.0).stop_nats == 40
    assert PPOConfig(kl_target_nats=20.0, kl_stop_nats=25.0).stop_nats == 25
    with pytest.raises(ConfigError):
        PPOConfig(kl_target_nats=20.0, kl_stop_nats=20.0)


def ends(path: Path, seeds: range, **config: Any) -> list[float]:
    """KL per answer at the end of each run, in targets."""
    return [run(path / str(seed), seed, **config)[-1]["kl/exact_nats_per_answer"] / TARGET for seed in seeds]


def test_a_steered_run_ends_at_its_target(tmp_path: Path) -> None:
    rows = run(tmp_path, seed=1)
    assert rows[-1]["kl/exact_nats_per_answer"] == pytest.approx(TARGET, rel=0.25)
    assert rows[-1]["rollout/score"] > rows[0]["rollout/score"] + 1


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_steered_runs_end_at_their_target(tmp_path: Path) -> None:
    """None past it. A policy that lost its way in the middle of a run may be short of it: the rate is too low by then."""
    found = ends(tmp_path, range(20))
    assert max(found) <= 1.25
    assert sum(end >= 0.75 for end in found) >= 17, found


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("beta", [3e-3, 0.3], ids=["too small by ten", "too large by ten"])
def test_so_do_runs_whose_weight_is_wrong_by_ten(tmp_path: Path, beta: float) -> None:
    found = ends(tmp_path, range(8), beta=beta)
    assert max(found) <= 1.25
    assert sum(end >= 0.75 for end in found) >= 6, found
