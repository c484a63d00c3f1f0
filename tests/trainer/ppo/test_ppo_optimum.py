"""PPO against optima that can be written down: the same loop, losses and models that train SmolLM2, on policies of a few paths.

With reward r, reference q and KL weight beta the best policy is q(y) exp(r(y) / beta) / Z, and its value is beta log Z.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import ppo_folder, simple_policy
from trainer.contract.config import PPOConfig
from trainer.contract.folder import read_jsonl
from trainer.files.checkpoint import load_state
from trainer.lm.backbone import Backbone
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.generate import Generated
from trainer.lm.lm_head import lm_head
from trainer.lm.value_head import ValueHead
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt, write_answers
from trainer.ppo.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPT = [0]
EXACT: dict[str, Any] = {
    "episodes": 256,
    "epochs": 2,
    "minibatches": 2,
    "microbatch": 256,
    "temperature": 1.0,
    "adaptive_kl": False,
    "kl_stop_nats": 100.0,
    "entropy_floor_nats": -1.0,
    "early_stop_kl_nats": 1.0,
    "vf_coef": 0.5,
    "value_clip": 10.0,
    "length_control": "off",  # a price on length would move the optimum
    "checkpoint_every": 1000,
}


def count_ones(_prompts: Ids, answers: Ids) -> Tensor:
    return torch.tensor([float(sum(token == 1 for token in answer)) for answer in answers])


def probabilities(backbone: Backbone, answers: list[list[int]]) -> Tensor:
    """(N,) exact probability of each answer."""
    with torch.no_grad():
        return response_logprobs(backbone, pack([PROMPT] * len(answers), answers), 1.0).logprobs.sum(1).exp()


def value_at_start(path: Path, backbone: Backbone) -> float:
    """What the run's value head, as its last checkpoint holds it, expects before the first token."""
    found = load_state(path / "state")
    assert found is not None
    value_head = ValueHead(16, 2)
    value_head.load_state_dict(found[1]["value_head"])
    with torch.no_grad():
        return float(value_head(response_logprobs(backbone, pack([PROMPT], [[1, 1]]), 1.0).states)[0, 0])


def learn(path: Path, backbone: Backbone, **config: Any) -> dict[str, Any]:
    folder = ppo_folder(path, **(EXACT | config))
    assert isinstance(folder.config, PPOConfig)
    return train(folder, folder.config, backbone, Rule(count_ones), [Prompt(1, PROMPT)], [])


def test_vocabulary_two_length_two_reaches_the_optimum(tmp_path: Path) -> None:
    backbone = simple_policy(vocab=2, eos=None, uniform=True)
    figures = learn(tmp_path, backbone, beta=0.5, max_new_tokens=2, updates=80, learning_rate=0.02, checkpoint_every=80)
    answers = [list(answer) for answer in product((0, 1), repeat=2)]
    p = probabilities(backbone, answers)
    one = 1 / (1 + math.exp(-2))  # .880797
    torch.testing.assert_close(p, torch.tensor([(1 - one) ** 2, (1 - one) * one, one * (1 - one), one**2]), atol=0.006, rtol=0)
    expected_reward = sum(float(p[i]) * sum(answer) for i, answer in enumerate(answers))
    assert expected_reward == pytest.approx(1.761594, abs=0.02)
    assert figures["score"] == pytest.approx(1.761594, abs=0.15)  # measured on 256 answers
    assert value_at_start(tmp_path, backbone) == pytest.approx(1.433781, abs=0.05)


def test_variable_length_with_an_end_token_reaches_the_optimum(tmp_path: Path) -> None:
    """Tokens 0 and 1, end token 2, at most two tokens: seven answers, three of which end by choice."""
    backbone = simple_policy(vocab=3, eos=2, uniform=True)
    learn(tmp_path, backbone, beta=0.5, max_new_tokens=2, updates=100, learning_rate=0.02)
    answers = [[2], *([a, b] for a in (0, 1) for b in (0, 1, 2))]
    weights = torch.tensor([3.0 ** -len(answer) * math.exp(answer.count(1) / 0.5) for answer in answers])
    torch.testing.assert_close(probabilities(backbone, answers), weights / weights.sum(), atol=0.006, rtol=0)


@pytest.mark.parametrize(("advantage", "per_prompt"), [("reinforce", 1), ("rloo", 4), ("grpo", 4), ("grpo", 16)])
def test_the_other_estimators_reach_the_optimum_too(tmp_path: Path, advantage: str, per_prompt: int) -> None:
    backbone = simple_policy(vocab=2, eos=None, uniform=True)
    sizes = {"advantage": advantage, "answers_per_prompt": per_prompt, "episodes": 64, "microbatch": 64, "updates": 40}
    learn(tmp_path, backbone, beta=0.5, max_new_tokens=1, learning_rate=0.03, **sizes)
    assert probabilities(backbone, [[1]]).item() == pytest.approx(0.880797, abs=0.02)


def test_grpo_reaches_the_optimum_of_each_prompt_however_far_apart_its_scores_are(tmp_path: Path) -> None:
    """Scores of 0 and 1 after one prompt, of 0 and .25 after the other: at beta .5 one p(1) is sigmoid(2), the other sigmoid(.5).

    Were the scores alone divided by their deviation, as in the paper, both would run to 1: the deviation falls on the way.
    """

    def score(prompts: Ids, answers: Ids) -> Tensor:
        ones = (float(answer[0] == 1) for answer in answers)
        return torch.tensor([one / 4 if prompt[0] else one for one, prompt in zip(ones, prompts, strict=True)])

    backbone = simple_policy(vocab=2, eos=None, uniform=True)
    sizes = {"advantage": "grpo", "answers_per_prompt": 16, "episodes": 256, "microbatch": 256, "updates": 80}
    folder = ppo_folder(tmp_path, **(EXACT | sizes | {"beta": 0.5, "max_new_tokens": 1, "learning_rate": 0.03}))
    assert isinstance(folder.config, PPOConfig)
    train(folder, folder.config, backbone, Rule(score), [Prompt(1, [0]), Prompt(2, [1])], [])
    with torch.no_grad():
        ones = response_logprobs(backbone, pack([[0], [1]], [[1], [1]]), 1.0).logprobs[:, 0].exp()
    torch.testing.assert_close(ones, torch.tensor([2.0, 0.5]).sigmoid(), atol=0.02, rtol=0)


@pytest.mark.parametrize("advantage", ["gae", "rloo", "grpo"])
@pytest.mark.parametrize("drawn_at", [1.0, 2.0])
def test_tokens_are_weighed_only_where_the_sampler_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advantage: str, drawn_at: float
) -> None:
    """Drawn at the temperature of training, a cap changes no bit; drawn at another, it changes what is learned."""

    def off_on_purpose(backbone: Backbone, config: PPOConfig, *rest: Any) -> list[Generated]:
        return write_answers(backbone, replace(config, temperature=drawn_at), *rest)

    monkeypatch.setattr("trainer.ppo.run.write_answers", off_on_purpose)
    learned = []
    for cap in (0.0, 2.0):
        backbone = simple_policy(vocab=4, eos=None, seed=3)
        lm_head(backbone).weight.data.mul_(20)  # far from uniform, which no temperature changes
        sizes = {"advantage": advantage, "answers_per_prompt": 4, "updates": 2, "sampler_weight_cap": cap}
        learn(tmp_path / str(cap), backbone, beta=0.5, max_new_tokens=2, learning_rate=0.03, **sizes)
        learned.append(probabilities(backbone, [[0, 1], [1, 1], [2, 3]]))
        first = next(read_jsonl(tmp_path / str(cap) / "metrics.jsonl"))
        off = first["rollout/sampler_difference_rms_nats_per_token"]
        assert off < 1e-5 if drawn_at == 1 else off > 0.05
    assert torch.equal(*learned) == (drawn_at == 1)


def test_without_a_kl_penalty_a_bandit_takes_the_best_arm(tmp_path: Path) -> None:
    backbone = simple_policy(vocab=4, eos=None, seed=3)
    learn(tmp_path, backbone, beta=0.0, max_new_tokens=1, updates=30, learning_rate=0.02)
    assert probabilities(backbone, [[1]]).item() > 0.99


def test_a_heavy_kl_penalty_keeps_a_bandit_at_its_reference(tmp_path: Path) -> None:
    arms = [[arm] for arm in range(4)]
    drifts = []
    for beta in (1.0, 30.0):
        backbone = simple_policy(vocab=4, eos=None, seed=3)
        start = probabilities(backbone, arms)
        learn(tmp_path / str(beta), backbone, beta=beta, max_new_tokens=1, updates=30, learning_rate=0.02)
        drifts.append(float((probabilities(backbone, arms) - start).abs().max()))
    assert drifts[1] < 0.02 < 0.1 < drifts[0]
