"""What a preference run carries from step to step, and how it is kept: policy, optimiser, the best look so far, counters.

The order of each epoch follows from the seed alone, so that a state taken after any step is enough to go on from bit for bit (on
CPU with the same number of threads). Knows no loss and no label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.contract.config import PreferenceConfig
from trainer.files.checkpoint import load_state, save_state
from trainer.lm.backbone import Backbone, named_trainable
from trainer.lm.machine.processes import add_up_gradients
from trainer.preference.look import Look

MOST_BAD_STEPS = 3


@dataclass
class Best:
    """The weights to keep: those of the look with the lowest held-out loss, or of the last where nothing is held out."""

    step: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]
    hits: Tensor | None = None  # (held-out examples,) as `Said` has them


class Learner:
    """Policy and optimiser of one run, with everything that changes while it learns."""

    def __init__(self, backbone: Backbone, config: PreferenceConfig, examples: int) -> None:
        self.config = config
        self.policy = dict(named_trainable(backbone))
        self.optimiser = torch.optim.Adam(self.policy.values(), lr=config.learning_rate)
        self.examples = examples
        self.per_epoch = math.ceil(examples / config.batch_size)
        self.total = config.epochs * self.per_epoch
        self.step = 0  # optimiser steps done
        self.bad_steps = 0  # in a row, whose numbers were not finite
        self.unsaid: dict[str, float] | None = {}  # metrics of the last step, until they are written with what a look saw
        self.before: dict[str, float] = {}  # metrics of the first look
        self.best: Best | None = None

    @property
    def looks(self) -> set[int]:
        """The steps after which the policy is looked at: evenly over the run, before the first and after the last too."""
        return {round(number * self.total / self.config.looks) for number in range(self.config.looks + 1)}

    @property
    def broke(self) -> bool:
        return self.bad_steps >= MOST_BAD_STEPS

    @property
    def learning_rate(self) -> float:
        """Of the next step: linear to 0 over the run."""
        return self.config.learning_rate * (1 - self.step / self.total)

    def batch(self) -> list[int]:
        """The examples of the next step: every one once in an epoch, in an order of its own.

        Steps of an epoch differ by one example at most: of a last one that is short, KTO's reference point would be one answer's.
        """
        epoch, at = divmod(self.step, self.per_epoch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        order = torch.randperm(self.examples, generator=generator)
        found: list[int] = order.tensor_split(self.per_epoch)[at].tolist()
        return found

    def take_step(self, loss: float, metrics: dict[str, float]) -> None:
        """One step on the gradients at hand, skipped when not finite. `metrics` of its batch become `unsaid`, with its own."""
        rate = self.learning_rate
        add_up_gradients(list(self.policy.values()))
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.policy.values()), self.config.max_grad_norm))
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.bad_steps = 0
        else:
            self.bad_steps += 1
        self.optimiser.zero_grad()
        self.step += 1
        self.unsaid = metrics | {"losses/grad_norm": norm, "charts/learning_rate": rate}

    def note(self, seen: Look) -> None:
        """Remember these weights if no look was better, and the policy is within what it may move."""
        metrics = seen.metrics
        if self.step == 0:
            self.before = metrics
        if seen.kl_nats > self.config.kl_stop_nats:
            return
        if self.best is None or seen.held_out is None or metrics["heldout/loss"] < self.best.metrics["heldout/loss"]:
            weights = {name: parameter.detach().clone() for name, parameter in self.policy.items()}
            self.best = Best(self.step, metrics, weights, seen.held_out.hits if seen.held_out else None)

    def take(self, best: Best) -> None:
        """Make the best weights the policy."""
        with torch.no_grad():
            for name, parameter in self.policy.items():
                parameter.copy_(best.weights[name])

    def save(self, folder: Path) -> None:
        """Keep everything above that training changes."""
        state = {
            "policy": {name: parameter.detach() for name, parameter in self.policy.items()},
            "optimiser": self.optimiser.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "before": self.before,
            "bad_steps": self.bad_steps,
            "unsaid": self.unsaid,
        }
        save_state(folder, self.step, state)

    def resume(self, folder: Path) -> bool:
        """Take up the newest whole state; False where there is none."""
        found = load_state(folder)
        if found is None:
            return False
        self.step, state = found
        with torch.no_grad():
            for name, parameter in self.policy.items():
                parameter.copy_(state["policy"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = None if state["best"] is None else Best(**state["best"])
        self.before, self.bad_steps, self.unsaid = state["before"], state["bad_steps"], state["unsaid"]
        return True
