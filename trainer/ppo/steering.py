"""How KL is held near its target: a weight that reacts on the scale of a run, a step back where that came too late, and a second
weight that draws a policy of many rounds towards the base.

Ziegler et al.'s controller (`advantages.adapted_beta`) moves beta by a few per cent in a run of a few hundred answers. Here log
beta moves: weights that matter differ by factors, and advantages are whitened, so that beta only turns the direction of a step
whose length the learning rate gives. What no weight turns back in time is interpolated. Knows no loss; docs/decisions/0023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.ppo.rollout import Trajectory

AIM: Final = 1.15  # targets: a little past it, because at the end of a run too far can be mended, and too near cannot
AT_ONCE: Final = 2.0  # log beta per target by which KL moved since the last rollout
MEMORY: Final = 0.05  # share of the run's updates over which a lasting error of one target moves log beta by 1
FARTHEST: Final = 2.0  # targets past, or on the log behind the course: what is beyond says no more
NOTHING: Final = 1e-4  # targets
TOO_FAR: Final = 1.5  # targets, from which a policy is taken back at once
TOO_FAR_LAST: Final = 1.25  # likewise, for the policy that would be kept
TRIES: Final = 3  # steps back in a row
LEAST_BETA: Final = 1e-4  # that moves: no factor moves 0
# What is past the budget for the way from the base costs at once, and for as long as it lasts; in score per nat and log-ratio.
ANCHOR_NOW, ANCHOR_KEPT, ANCHOR_LIMIT = 0.3, 0.1, 2.0


def drift(config: PPOConfig, rollout: Trajectory) -> float:
    """KL per answer from the reference, over what is aimed at."""
    return rollout.kl_nats / (AIM * config.kl_target_nats)


def steered_beta(beta: float, now: float, before: float, done: int, updates: int) -> float:
    """The KL weight after a rollout whose drift was `now`, that of the rollout before it `before`; `done` of a run's `updates`.

    A proportional and an integral part on log beta, in the velocity form of a PI controller. The integral part is of what is past
    the target, or behind the course to it, and nothing between the two.
    """
    now, before = min(now, FARTHEST), min(before, FARTHEST)
    behind = max(math.log(max(now, NOTHING) / course(done, updates)), -FARTHEST) if done else 0.0
    lasting = now - 1 if now > 1 else min(behind, 0.0)
    return max(beta, LEAST_BETA) * math.exp(AT_ONCE * (now - before) + lasting / max(1.0, MEMORY * updates))


def course(done: int, updates: int) -> float:
    """Where the drift should be by then: KL grows with the square of the way, which the learning rate gives as it falls to 0."""
    return (1 - (1 - done / updates) ** 2) ** 2


def share_to_keep(config: PPOConfig, kl_nats: float, last: bool) -> float | None:
    """How much of the way from its start a policy that moved too far may keep; None where it did not.

    KL grows with the square of a short way, and with higher powers where a policy sharpens. The fourth root of the ratio is less
    than the first asks and about what the second does, and the next rollout says whether it was enough.
    """
    most = min((TOO_FAR_LAST if last else TOO_FAR) * config.kl_target_nats, config.stop_nats)
    if not config.adaptive_kl or config.kl_controller != "steered" or kl_nats <= most:
        return None
    return float((config.kl_target_nats / kl_nats) ** 0.25)


def anchor_kept(kept: float, from_base_nats: float, budget_nats: float) -> float:
    """The lasting part of the weight of KL from the base, after a rollout."""
    return min(max(0.0, kept + ANCHOR_KEPT * _past(from_base_nats, budget_nats)), ANCHOR_LIMIT)


def anchor(kept: float, from_base_nats: float, budget_nats: float) -> float:
    """The weight of KL from the base, in score per nat: 0 inside its budget. It ends no run: where a round begins past the
    budget, it learns all the same, and comes back while it does.
    """
    return min(max(0.0, ANCHOR_NOW * _past(from_base_nats, budget_nats) + kept), ANCHOR_LIMIT)


def _past(from_base_nats: float, budget_nats: float) -> float:
    return math.log(max(from_base_nats, NOTHING) / budget_nats)


def step_back(policy: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> None:
    """Interpolate the policy towards where it started. Ramé et al. 2024, arXiv:2406.16768, section 3.3."""
    with torch.no_grad():
        for name, parameter in policy.items():
            parameter.lerp_(start[name], 1 - share)
