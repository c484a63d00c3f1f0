"""What a PPO run carries from update to update, and how it is kept: policy, value head, optimiser, random numbers, counters.

A snapshot taken at the start of an update is enough to do that update again, bit for bit (on CPU with the same number of
threads). It serves a crash, a cancel and the roll-back of a run that went wrong. Knows no loss and no reward.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.files.checkpoint import capture_rng, load_state, restore_rng, save_state
from trainer.lm.backbone import Backbone, named_trainable
from trainer.lm.lm_head import lm_head
from trainer.lm.machine.processes import add_up_gradients
from trainer.lm.value_head import ValueHead
from trainer.ppo.advantages import adapted_beta, k1
from trainer.ppo.guards import Guards, Judgement, LengthPrice, plain, restored
from trainer.ppo.held_out import HeldOut
from trainer.ppo.outside import Mixture
from trainer.ppo.rollout import Trajectory
from trainer.ppo.steering import TRIES, anchor, anchor_kept, drift, share_to_keep, steered_beta, step_back


class Learner:
    """Policy, value head and optimiser of one run, with everything that changes while it learns."""

    def __init__(self, backbone: Backbone, config: PPOConfig, prompts: int) -> None:
        self.backbone = backbone
        self.value_head = ValueHead(lm_head(backbone).weight.shape[1], config.max_new_tokens).to(backbone.device)
        self.policy = dict(named_trainable(backbone))
        self.start = {name: parameter.detach().clone() for name, parameter in self.policy.items()}
        self.starts_at_reference = all(torch.equal(start, is_now) for start, is_now in self._beside_reference())
        self.parameters = [*self.policy.values(), *self.value_head.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.learning_rate, eps=1e-5)
        self.sampling = torch.Generator().manual_seed(config.seed)
        self.shuffling = torch.Generator().manual_seed(config.seed + 1)
        self.order = torch.randperm(prompts, generator=self.shuffling)
        self.position = 0  # in the order: prompts before it have been answered in this pass
        self.update = 0  # updates finished
        self.beta = config.beta
        self.drift = 0.0  # of the last rollout that was learned from; steering.drift
        self.anchor = 0.0  # the weight of KL from the base, where that is not the reference
        self.anchor_kept = 0.0  # its lasting part
        self.taken_back = 0  # interpolations towards `start`
        self.tries = 0  # of them in a row
        self.rate_scale = 1.0  # halved by each roll-back
        self.rollbacks = 0
        self.bad_steps = 0  # in a row
        self.ptx_steps = 0  # optimiser steps that learned from demonstrations, which says what the next one is to learn from
        self.outside = tuple(config.outside_weights())  # names of rewards outside of the model
        self.mixture: Mixture | None = None  # of rewards outside of the model with its own; once it is found it stays
        self.guards = Guards(LengthPrice(config.length_band if config.length_control == "penalty" else None))

    def _beside_reference(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The weights that tell the start from the reference: each beside what it is where the two are one policy."""
        reference = self.backbone.reference_weights
        for name, start in self.start.items():
            if reference is not None:
                yield start, reference[name]
            elif "lora_B" in name:  # the reference is without adapters, and those whose B is 0 change nothing
                yield start, torch.zeros_like(start)

    def next_prompts(self, count: int) -> list[int]:
        """Indices of the prompts to answer next: every prompt once, in random order, before any comes again."""
        chosen: list[int] = []
        while len(chosen) < count:
            if self.position == len(self.order):
                self.order = torch.randperm(len(self.order), generator=self.shuffling)
                self.position = 0
            part = self.order[self.position : self.position + count - len(chosen)].tolist()
            self.position += len(part)
            chosen += part
        return chosen

    def step(self, loss: float, learning_rate: float, max_norm: float) -> float:
        """One optimiser step on the gradients at hand, skipped when not finite; returns the norm before clipping."""
        add_up_gradients(self.parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, max_norm))
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate * self.rate_scale
            self.optimiser.step()
            self.bad_steps = 0
        else:
            self.bad_steps += 1
        self.optimiser.zero_grad()
        return norm

    def steer(self, config: PPOConfig, rollout: Trajectory) -> None:
        """Move beta by how far the policy of this rollout is from where it should be."""
        now = drift(config, rollout)
        if config.adaptive_kl and config.kl_controller == "steered":
            self.beta = steered_beta(self.beta, now, self.drift, self.update, config.updates)
        elif config.adaptive_kl:
            self.beta = adapted_beta(self.beta, rollout.kl_nats, config.kl_target_nats, config.episodes, config.kl_horizon)
        self.drift = now

    def penalty(self, rollout: Trajectory) -> Tensor:
        """(B, T) what KL costs each token of the answers: from the reference, and from a base that is another."""
        cost = self.beta * k1(rollout.logprobs, rollout.ref_logprobs)
        if rollout.base_logprobs is not None:
            cost = cost + self.anchor * k1(rollout.logprobs, rollout.base_logprobs)
        return cost

    def hold_to_base(self, config: PPOConfig, rollout: Trajectory) -> None:
        """Weigh how far the policy of this rollout is from a base that is not its reference."""
        if rollout.base_logprobs is not None:
            self.anchor_kept = anchor_kept(self.anchor_kept, rollout.from_base_nats, config.base_budget_nats)
            self.anchor = anchor(self.anchor_kept, rollout.from_base_nats, config.base_budget_nats)

    def steps_back(self, config: PPOConfig, rollout: Trajectory, last: bool) -> bool:
        """Whether the policy of this rollout was too far for any weight to turn it back in time, and was interpolated."""
        share = share_to_keep(config, rollout.kl_nats, last)
        if share is None or self.tries == TRIES or not self.starts_at_reference:
            self.tries = 0
            return False
        step_back(self.policy, self.start, share)
        gone = drift(config, rollout)
        self.beta = steered_beta(self.beta, gone, gone, self.update, config.updates)  # its jump is undone: the lasting part alone
        self.tries += 1
        self.taken_back += 1
        return True

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything above, as nested plain values and tensors."""
        return {
            "policy": {name: parameter.detach().clone() for name, parameter in self.policy.items()},
            "value_head": {name: tensor.clone() for name, tensor in self.value_head.state_dict().items()},
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "random": capture_rng(sampling=self.sampling, shuffling=self.shuffling),
            "order": self.order.clone(),
            "counters": {name: getattr(self, name) for name in COUNTERS},
            "length": plain(self.guards.length),
            "judgement": plain(self.guards.judgement),
            "held_out": plain(self.guards.held_out),
            "mixture": self.mixture._asdict() if self.mixture else None,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        with torch.no_grad():
            for name, parameter in self.policy.items():
                parameter.copy_(snapshot["policy"][name])
        self.value_head.load_state_dict(snapshot["value_head"])
        self.optimiser.load_state_dict(copy.deepcopy(snapshot["optimiser"]))
        self.optimiser.zero_grad()
        restore_rng(snapshot["random"], sampling=self.sampling, shuffling=self.shuffling)
        self.order = snapshot["order"].clone()
        for name in COUNTERS:
            setattr(self, name, snapshot["counters"].get(name, getattr(self, name)))  # left by an earlier version: as at first
        self.mixture = Mixture(**snapshot["mixture"]) if snapshot.get("mixture") else None
        self.guards = Guards(
            restored(LengthPrice, snapshot["length"]),
            restored(Judgement, snapshot["judgement"]),
            restored(HeldOut, snapshot.get("held_out", {})),
        )

    def take_back(self, update: int, policy: dict[str, Tensor]) -> None:
        """Hand on an earlier policy. Nothing else goes back with it, so that this is for a run that ends here."""
        with torch.no_grad():
            for name, parameter in self.policy.items():
                parameter.copy_(policy[name])
        self.update = update

    def resume(self, folder: Path) -> bool:
        """Take up the newest whole state in the folder; False, and nothing changed, when there is none that fits."""
        found = load_state(folder)
        if found is None or found[1]["value_head"].keys() != self.value_head.state_dict().keys():  # left by an earlier version
            return False
        self.restore(found[1])
        return True


COUNTERS = (
    *("update", "position", "beta", "drift", "anchor", "anchor_kept", "taken_back", "tries"),
    *("rate_scale", "rollbacks", "bad_steps", "ptx_steps"),
)


def keep(folder: Path, snapshot: dict[str, Any]) -> None:
    """Write a snapshot to the folder, atomically; older ones are removed."""
    save_state(folder, snapshot["counters"]["update"], snapshot)
