"""What keeps a policy from over-optimising its reward, and what a run says when it ends for that.

Trained long enough against any learned reward, a policy finds the reward's errors (Gao et al. 2022, arXiv:2210.10760). Bounds on
KL and entropy end the run; a judge that learned from other labels ends it when the two rewards part; a price on length holds the
mean length. docs/math.md says when each acts. Knows no model and no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainer.advantages import masked_mean
from trainer.config import PPOConfig
from trainer.rollout import Trajectory

# The price follows the drift at once (proportional), and for as long as it lasts (integral); in score per log-ratio of lengths.
PRICE_NOW, PRICE_KEPT, PRICE_LIMIT = 10.0, 2.0, 20.0
SURE = 2.0  # standard errors by which the mean length must be outside: a small rollout's may be so by chance
MOVED_NATS = 0.25  # KL per answer, beyond the first rollout's, from which on a policy is no longer the one it began as
ROLLOUTS_OUTSIDE = 5  # in a row, after which the price is taken to have failed
JUDGE_FELL = 3.0  # standard errors of the difference of two windows
DEAR = 1.0  # a final price from which on a person should know that length was held


def out_of_bounds(config: PPOConfig, rollout: Trajectory) -> str | None:
    """Why the run must end now, in words for a person; None while the policy is inside its bounds."""
    kl, entropy = rollout.kl_nats, float(masked_mean(rollout.entropy, rollout.mask))
    if kl > config.kl_stop_nats:
        return f"KL reached {kl:.1f} nats per answer, past the limit of {config.kl_stop_nats:g}: the policy before that is kept"
    if entropy < config.entropy_floor_nats:
        floor = f"under the floor of {config.entropy_floor_nats:g}"
        return f"entropy fell to {entropy:.3f} nats per token, {floor}: the policy before that is kept"
    return None


@dataclass
class LengthPrice:
    """A price on tokens that holds the mean length of answers near what it was; part of a run's resumable state.

    What it was is told by the rollouts before the policy has moved: one alone is off by a tenth easily, and the price would
    push towards that chance for the whole run.

    An answer of n tokens pays `price * (n / start - 1)`: the term that a Lagrange multiplier on the mean length adds to each
    answer's score, so that short and long answers to different prompts stay as different as they were. The multiplier follows the
    drift by a proportional and an integral part (Stooke et al. 2020, arXiv:2007.03964), in either direction.
    """

    band: float | None  # how far the mean may be off, as a share, for a policy to be kept; None: length is watched and free
    start: float = 0.0  # mean tokens of an answer before anything was learned; 0 until the first rollout
    start_error: float = 0.0  # relative standard error of that
    start_kl: float = 0.0  # nats per answer in the first rollout: a run need not begin at its reference
    unmoved: int = 0  # rollouts that `start` is the mean of
    moved: bool = False  # once it has, no later rollout tells of the start
    ratio: float = 1.0  # of the last rollout's mean length to that
    kept: float = 0.0  # the integral part
    outside: int = 0  # rollouts in a row outside the band, beyond doubt

    @property
    def price(self) -> float:
        """Score per `start` tokens; positive where answers have grown."""
        if self.band is None or not self.moved:
            return 0.0
        return _limited(PRICE_NOW * math.log(self.ratio) + self.kept)

    def look(self, lengths: Tensor, kl_nats: float) -> None:
        """Take in the lengths (B,) of a rollout, in tokens, and its KL per answer."""
        mean = float(lengths.float().mean())
        error = float(lengths.float().std(correction=0)) / len(lengths) ** 0.5 / mean
        if not self.unmoved:
            self.start_kl = kl_nats
        self.moved = self.moved or kl_nats - self.start_kl >= MOVED_NATS
        if not self.moved:
            self.unmoved += 1
            self.start += (mean - self.start) / self.unmoved
            self.start_error = math.hypot(self.start_error * (self.unmoved - 1), error) / self.unmoved
        self.ratio = mean / self.start
        if self.moved:
            self.kept = _limited(self.kept + PRICE_KEPT * math.log(self.ratio))
        doubt = SURE * self.ratio * math.hypot(error, self.start_error)
        inside = self.band is None or abs(self.ratio - 1) <= self.band + doubt
        self.outside = 0 if inside else self.outside + 1

    def cost(self, lengths: Tensor) -> Tensor:
        """(B,) what answers of these lengths pay of their scores."""
        return self.price * (lengths.float() / self.start - 1)

    def failed(self, last: bool) -> str | None:
        """Why the run must end: the price could not hold the length, for too long or until the last rollout."""
        if self.outside < ROLLOUTS_OUTSIDE and not (last and self.outside):
            return None
        return (
            f"answers came to {self.ratio:.0%} of their first mean length, and a price on length did not bring them back: the "
            "last policy that kept its length is kept. Where the labels are about length, set length_control to off"
        )


@dataclass
class Judgement:
    """Rollouts as the reward and an independent judge see them; part of a run's resumable state.

    `look` smooths both over a window of rollouts and remembers the policy that the judge liked best.
    """

    readings: list[list[float]] = field(default_factory=list)  # the window: mean overall, mean judged, its squared error
    best: dict[str, Any] | None = None  # update, score, judged, squared error, policy; of the best window so far

    def look(
        self, update: int, rollout: Trajectory, policy: Mapping[str, Tensor], window: int, keepable: bool = True
    ) -> str | None:
        """Take in a rollout; why the run must end now, if the reward has risen since the judge's best window and the judge fell.

        Both speak of the overall verdict: what criteria, flags and length add to PPO's score is no error of the reward. Only a
        policy that the other guards would keep may be the best. The fall must exceed three standard errors, so that a run of bad
        prompts ends nothing.
        """
        if rollout.judged is None or rollout.overall is None or window == 0:
            return None
        error = float(rollout.judged.var(correction=0)) / len(rollout.judged)
        self.readings = [*self.readings, [float(rollout.overall.mean()), float(rollout.judged.mean()), error]][-window:]
        if len(self.readings) < window:
            return None
        score, judged, error = torch.tensor(self.readings, dtype=torch.float64).mean(0).tolist()
        error /= window
        if keepable and (self.best is None or judged > self.best["judged"]):
            kept = {name: parameter.detach().clone() for name, parameter in policy.items()}
            self.best = {"update": update, "score": score, "judged": judged, "error": error, "policy": kept}
            return None
        if self.best is None:
            return None
        fall = self.best["judged"] - judged
        apart = update >= self.best["update"] + window  # the two windows share no rollout
        if apart and score > self.best["score"] and fall > JUDGE_FELL * math.sqrt(error + self.best["error"]):
            since = self.best["update"]
            return (
                f"since update {since} the overall score rose from {self.best['score']:+.2f} to {score:+.2f} while the judge, "
                f"which learned from other labels, fell from {self.best['judged']:+.2f} to {judged:+.2f}: the policy of update "
                f"{since} is kept"
            )
        return None


def plain(state: LengthPrice | Judgement) -> dict[str, Any]:
    """A guard's memory as nested plain values and tensors; `type(state)(**plain(state))` is the same."""
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def _limited(price: float) -> float:
    return min(max(price, -PRICE_LIMIT), PRICE_LIMIT)
