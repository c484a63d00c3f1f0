"""What answers to held-out prompts say of a run: which update's policy is to be kept, and whether it can be read.

No policy is trained on these prompts, and no label of theirs taught the reward. The first answers, before anything is learned,
are what later ones to the same prompts are set against. Part of a run's resumable state; knows no model and no file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.contract.messages import Message
from trainer.contract.ppo_config import FEWEST_WATCHED
from trainer.ppo.readability import Readability

DOUBT: Final = 2.0  # deviations by which a gain is sure: of the jackknife, and where updates are compared of chance, too
SURE: Final = 2.0  # standard errors by which a bound must be passed: few answers may be past it by chance

Decode = Callable[[int], str]  # a token's text


@dataclass
class HeldOut:
    """The first answers' figures, and the policy to keep so far."""

    first: dict[str, Any] | None = None  # members (K,) means, each figure (n,), words
    best: dict[str, Any] | None = None  # update, gain, policy: the last that surely none before it surpassed
    most: Tensor | None = None  # (n, K) members' scores of the answers that gained most so far, of a policy in bounds
    readable: dict[str, Any] | None = None  # update and policy of the last look that was in bounds

    def look(
        self,
        config: PPOConfig,
        update: int,
        members: Tensor | None,  # (R * n, K) by estimates that were made without one of K parts of the labels' prompts
        read: Readability,  # of R answers to each of n prompts: the first to each, then the second
        policy: Mapping[str, Tensor],
        decode: Decode,
        keepable: bool = True,  # whether the other guards would keep that policy
    ) -> tuple[dict[str, float], Message | None]:
        """Take in the answers of the policy after so many updates: metrics, and why the run must end now.

        To be kept is the last policy in bounds, unless the one that gained most before it surely gained more: what the members
        doubt of both alike says nothing of which is better. Where nothing was looked at before the first update, nothing can be
        said later.
        """
        members, read = by_prompt(config.heldout_answers, members, read)
        if len(read.fluency) < FEWEST_WATCHED or (self.first is None and update):
            return {}, None
        if self.first is None:
            self.first = _first(members, read)
        found = {f"heldout/{name}": float(getattr(read, name).mean()) for name in ("fluency", "relevance", "repetition")}
        found["heldout/truncated"] = float(read.cut.mean())
        reason = past_bounds(config, self.first, read, decode)
        if reason is None and keepable:
            kept = {"update": update, "policy": {name: parameter.detach().clone() for name, parameter in policy.items()}}
            self.readable = kept
        if members is not None and self.first["members"] is not None:
            gain, bound = gained(members.mean(0) - self.first["members"])
            found |= {"heldout/gain": gain, "heldout/gain_at_least": bound}
            if update and reason is None and keepable:
                self._compare(members, kept | {"gain": gain})
        return found, reason

    def _compare(self, members: Tensor, kept: dict[str, Any]) -> None:
        """Take in a policy that may be kept, and what the members (n, K) say of its answers."""
        if self.most is not None and surely_less(members, self.most):
            return
        self.best = kept
        if self.most is None or float(members.mean()) >= float(self.most.mean()):
            self.most = members.clone()


def by_prompt(answers: int, members: Tensor | None, read: Readability) -> tuple[Tensor | None, Readability]:
    """The means of so many answers to each prompt: (n, K), and figures (n,). How often a word comes is of all of them."""
    fluency, relevance, repetition, cut = (
        mean_by_prompt(answers, given) for given in (read.fluency, read.relevance, read.repetition, read.cut)
    )
    means = Readability(fluency, relevance, repetition, cut, read.words)
    return None if members is None else mean_by_prompt(answers, members), means


def mean_by_prompt(answers: int, given: Tensor) -> Tensor:
    """(R * n, ...) of R answers to each of n prompts, the first to each before the second -> (n, ...)."""
    return given.reshape(answers, -1, *given.shape[1:]).mean(0)


def surely_less(members: Tensor, others: Tensor) -> bool:
    """Whether answers to the same prompts fell from `others` to `members`, both (n, K), beyond doubt.

    The doubt of a mean difference is the jackknife's, of the labels' prompts, and that of its mean over n prompts, together.
    """
    fall = others - members
    mean, bound = gained(fall.mean(0))
    chance = DOUBT * float(fall.mean(1).std()) / math.sqrt(len(fall))
    return mean > math.hypot(mean - bound, chance)


def gained(members: Tensor) -> tuple[float, float]:
    """The mean gain by K estimates (K,), and its lower bound: less `DOUBT` deviations of the delete-a-group jackknife.

    An estimate made without one part of the prompts differs from another by what that part alone says; where that is much, the
    gain may be an error of the reward's. Kott 2001, J. Official Statistics 17(4), eq. 2.
    """
    gain = float(members.mean())
    return gain, gain - DOUBT * float(members.std(correction=0)) * math.sqrt(max(len(members) - 1, 0))


def past_bounds(config: PPOConfig, first: Mapping[str, Any], read: Readability, decode: Decode) -> Message | None:
    """Why answers cannot be read any more as the first ones could, if that is beyond doubt."""
    was = {name: float(first[name].mean()) for name in ("fluency", "relevance", "repetition", "cut")}
    fell = {name: _beyond_doubt(first[name] - getattr(read, name)) for name in was}
    rose = {name: _beyond_doubt(getattr(read, name) - first[name]) for name in was}
    now = {name: float(getattr(read, name).mean()) for name in was}
    if fell["fluency"] > config.fluency_fall_nats:
        return Message("fluency_fell", now=now["fluency"], was=was["fluency"], limit=config.fluency_fall_nats)
    if was["relevance"] > 0 and fell["relevance"] > config.relevance_fall * was["relevance"]:
        return Message("relevance_fell", now=now["relevance"], was=was["relevance"], limit=config.relevance_fall)
    if rose["repetition"] > config.repetition_rise:
        return Message("repetition_rose", now=now["repetition"], was=was["repetition"])
    if rose["cut"] > config.truncation_rise:
        return Message("truncation_rose", now=now["cut"], was=was["cut"])
    return _one_word(config, Counter(first["words"]), read.words, decode)


def _one_word(config: PPOConfig, before: Counter[int], words: Counter[int], decode: Decode) -> Message | None:
    """Why one token takes too much of what is written: the reward may have learned it in place of what people meant."""
    if not words:
        return None
    total, first = words.total(), max(before.total(), 1)
    token, count = max(words.items(), key=lambda item: item[1] / total - before[item[0]] / first)
    share, was = count / total, before[token] / first
    error = math.sqrt(share * (1 - share) / total + was * (1 - was) / first)
    if share - was - SURE * error <= config.word_rise:
        return None
    return Message("one_word_rose", word=decode(token).strip() or decode(token), now=1000 * share, was=1000 * was)


def _first(members: Tensor | None, read: Readability) -> dict[str, Any]:
    return {**read._asdict(), "members": None if members is None else members.mean(0)}


def _beyond_doubt(differences: Tensor) -> float:
    """The mean of paired differences (n,), less what it may be by chance."""
    return float(differences.mean()) - SURE * float(differences.std()) / math.sqrt(len(differences))
