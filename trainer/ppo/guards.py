"""What keeps a policy from over-optimising its reward, and what a run says when it ends for that.

Trained long enough against any learned reward, a policy finds the reward's errors (Gao et al. 2022, arXiv:2210.10760). Bounds on
KL and entropy end the run; a judge that learned from other labels ends it when the two rewards part; a price on length holds the
mean length. docs/math.md says when each acts. Knows no model and no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.contract.messages import Message
from trainer.ppo.advantages import masked_mean
from trainer.ppo.held_out import HeldOut
from trainer.ppo.rollout import Trajectory

# What drifts beyond the free part of the band is priced at once (proportional), and for as long as it lasts (integral); in score
# per log-ratio of lengths.
PRICE_NOW, PRICE_KEPT, PRICE_LIMIT = 10.0, 2.0, 20.0
FREE_SHARE = 0.5  # of the band: within it the mean may wander, as chance alone would make it
LEAN_MEMORY = 0.8  # how much of what earlier rollouts said of the lean still counts after one more
SURE = 2.0  # standard errors by which the mean length must be outside: a small rollout's may be so by chance
ROLLOUTS_OUTSIDE = 5  # in a row, after which the price is taken to have failed
JUDGE_FELL = 3.0  # standard errors of the difference of two windows
DEAR = 0.5  # deviations of a score; a last price that takes so much of answers is one that a person should know of


def out_of_bounds(config: PPOConfig, rollout: Trajectory) -> Message | None:
    """Why the run must end now; None while the policy is inside its bounds."""
    kl, entropy = rollout.kl_nats, float(masked_mean(rollout.entropy, rollout.mask))
    if kl > config.stop_nats:
        return Message("kl_past_limit", kl=kl, limit=config.stop_nats)
    if entropy < config.entropy_floor_nats:
        return Message("entropy_under_floor", entropy=entropy, floor=config.entropy_floor_nats)
    return None


@dataclass
class LengthPrice:
    """A price on tokens that holds the mean length of answers near what it was; part of a run's resumable state.

    An answer of n tokens pays `price * (n - mean) / start`, `mean` being the rollout's: the term that a Lagrange multiplier on
    the mean length adds to each score, so that short and long answers to different prompts stay as different as they were.
    To first order the mean stays where it is when the price is the slope of what answers earn on how long they are, given
    their prompts: that is paid from the first update on. What drifts all the same, beyond what is free, is held by a proportional
    and an integral part (Stooke et al. 2020, arXiv:2007.03964), in either direction.
    """

    band: float | None  # how far the mean may be off, as a share, for a policy to be kept; None: length is watched and free
    start: float = 0.0  # mean tokens of an answer before anything was learned; 0 until `begin`
    start_error: float = 0.0  # relative standard error of that
    ratio: float = 1.0  # of the last rollout's mean length to that
    spread: float = 0.0  # deviation of the last rollout's lengths, as a share of `start`
    covariance: float = 0.0  # of earnings and lengths in tokens, summed over the rollouts, the older ones fading
    variance: float = 0.0  # of lengths, likewise
    kept_long: float = 0.0  # the integral parts: multipliers of the two bounds, which answers are too long or too short for
    kept_short: float = 0.0
    outside: int = 0  # rollouts in a row outside the band, beyond doubt

    @property
    def price(self) -> float:
        """Score per `start` tokens; positive where longer answers earn more or answers have grown."""
        if self.band is None:
            return 0.0
        lean = self.covariance / self.variance * self.start if self.variance else 0.0
        past = max(0.0, self._past_long) - max(0.0, self._past_short)
        return _limited(lean + PRICE_NOW * past + self.kept_long - self.kept_short)

    @property
    def taken(self) -> float:
        """How much the price takes from the last rollout's answers, as a standard deviation, in score."""
        return abs(self.price) * self.spread

    def begin(self, lengths: Tensor) -> None:
        """Take in lengths, in tokens, of answers before anything is learned: what is to be held."""
        self.start, self.start_error = _mean_and_error(lengths)

    def look(self, lengths: Tensor, earned: Tensor) -> None:
        """Take in the lengths (B,) of a rollout, in tokens, and what its answers earned (B,) before any price, less what was
        expected of them (the value of the state that they start from).
        """
        if not self.start:  # nobody measured it: length is only watched
            self.begin(lengths)
        mean, error = _mean_and_error(lengths)
        apart = lengths.double() - mean
        self.ratio, self.spread = mean / self.start, float(apart.square().mean().sqrt()) / self.start
        self.covariance = LEAN_MEMORY * self.covariance + float((apart * earned.double()).sum())
        self.variance = LEAN_MEMORY * self.variance + float(apart.square().sum())
        if self.band is not None:
            self.kept_long = min(max(0.0, self.kept_long + PRICE_KEPT * self._past_long), PRICE_LIMIT)
            self.kept_short = min(max(0.0, self.kept_short + PRICE_KEPT * self._past_short), PRICE_LIMIT)
        doubt = SURE * self.ratio * math.hypot(error, self.start_error)
        inside = self.band is None or abs(self.ratio - 1) <= self.band + doubt
        self.outside = 0 if inside else self.outside + 1

    @property
    def _past_long(self) -> float:
        """How far the mean is past what is free, as a log-ratio; negative inside."""
        return math.log(self.ratio) - math.log1p(FREE_SHARE * (self.band or 0.0))

    @property
    def _past_short(self) -> float:
        return -math.log(self.ratio) - math.log1p(FREE_SHARE * (self.band or 0.0))

    def cost(self, lengths: Tensor) -> Tensor:
        """(B,) what the answers of a rollout, of these lengths, pay of their scores; 0 in the mean."""
        return self.price * (lengths.float() - lengths.float().mean()) / self.start

    def failed(self, last: bool) -> Message | None:
        """Why the run must end: the price could not hold the length, for too long or until the last rollout."""
        if self.outside < ROLLOUTS_OUTSIDE and not (last and self.outside):
            return None
        return Message("length_got_away", ratio=self.ratio, setting="ppo.length_control", choice="ppo.length_control.off")


@dataclass
class Judgement:
    """Rollouts as the reward and an independent judge see them; part of a run's resumable state.

    `look` smooths both over a window of rollouts and remembers the policy that the judge liked best.
    """

    readings: list[list[float]] = field(default_factory=list)  # the window: mean overall, mean judged, its squared error
    best: dict[str, Any] | None = None  # update, score, judged, squared error, policy; of the best window so far

    def look(
        self, update: int, rollout: Trajectory, policy: Mapping[str, Tensor], window: int, keepable: bool = True
    ) -> Message | None:
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
            return Message(
                "judge_parted",
                update=self.best["update"],
                score=self.best["score"],
                risen=score,
                judged=self.best["judged"],
                fallen=judged,
            )
        return None


class Ruling(NamedTuple):
    """What the guards say of a rollout, and so of the policy that wrote it."""

    reason: Message | None  # why the run must end now
    keepable: bool  # whether that policy may be what the run hands on
    instead: dict[str, Any] | None = None  # where the judge's word ended the run: the policy it liked best, of `Judgement.best`


@dataclass
class Guards:
    """All that watches a run, with what it remembers."""

    length: LengthPrice
    judgement: Judgement = field(default_factory=Judgement)
    held_out: HeldOut = field(default_factory=HeldOut)

    def look(self, config: PPOConfig, update: int, rollout: Trajectory, penalty: Tensor, policy: Mapping[str, Tensor]) -> Ruling:
        """Take in the rollout of `policy`, which `update` updates made; `penalty` (B, T) is what KL cost its tokens."""
        earned = rollout.scores - penalty.sum(1)
        self.length.look(rollout.lengths, earned - rollout.values[:, 0])
        reason = out_of_bounds(config, rollout)
        keepable = reason is None and not self.length.outside
        parted = self.judgement.look(update, rollout, policy, config.judge_window, keepable)
        if reason is None and parted is not None:
            return Ruling(parted, False, self.judgement.best)
        reason = reason or self.length.failed(last=update == config.updates)
        return Ruling(reason, keepable and reason is None)


Guard = TypeVar("Guard", LengthPrice, Judgement, HeldOut)


def plain(state: LengthPrice | Judgement | HeldOut) -> dict[str, Any]:
    """A guard's memory as nested plain values and tensors; `restored(type(state), plain(state))` is the same."""
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def restored(kind: type[Guard], values: Mapping[str, Any]) -> Guard:
    """A guard from its memory, also that of an earlier version, of which it takes what it knows."""
    return kind(**{name: value for name, value in values.items() if name in kind.__dataclass_fields__})


def _mean_and_error(lengths: Tensor) -> tuple[float, float]:
    """Mean of lengths, and its standard error as a share of it."""
    mean = float(lengths.double().mean())
    return mean, float(lengths.double().std(correction=0)) / len(lengths) ** 0.5 / mean


def _limited(price: float) -> float:
    return min(max(price, -PRICE_LIMIT), PRICE_LIMIT)
