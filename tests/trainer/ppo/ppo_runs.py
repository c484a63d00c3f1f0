"""Short PPO runs on policies that are small: prompts, settings, a rewarded rule, and how weights are moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.trainer.tiny import llama_policy, ppo_folder, simple_policy
from trainer.contract.config import PPOConfig
from trainer.lm.backbone import Backbone, named_trainable
from trainer.ppo.learner import Learner
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train

PROMPTS = [Prompt(index, [5, 6, *range(7, 8 + index % 4)]) for index in range(12)]
PANEL = [Prompt(100, [9, 9]), Prompt(101, [8])]
SMALL: dict[str, Any] = {
    "updates": 3,
    "episodes": 8,
    "epochs": 2,
    "minibatches": 2,
    "microbatch": 3,
    "max_new_tokens": 6,
    "learning_rate": 0.01,
    "entropy_floor_nats": -1.0,
    "early_stop_kl_nats": 10.0,
}
POLICIES: dict[str, Callable[[], Backbone]] = {"llama": llama_policy, "simple": lambda: simple_policy(vocab=40, eos=2)}


def even_share(_prompts: Ids, answers: Ids) -> Tensor:
    return torch.tensor([sum(token % 2 == 0 for token in given) / len(given) for given in answers])


def learn(path: Path, backbone: Backbone, score: Any = even_share, **config: Any) -> dict[str, Any]:
    folder = ppo_folder(path, **(SMALL | config))
    assert isinstance(folder.config, PPOConfig)
    return train(folder, folder.config, backbone, Rule(score), PROMPTS, PANEL)


def move_adapters(backbone: Backbone) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, parameter in named_trainable(backbone):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def move_value_head(learner: Learner) -> None:
    draw = torch.Generator().manual_seed(5)
    for parameter in learner.value_head.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=draw), alpha=0.3)
