"""Best-of-n: of several answers to a prompt the one that a reward model scores highest. It trains nothing and draws nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from trainer.contract.config import SampleConfig
from trainer.contract.english import SpokenError
from trainer.contract.folder import Refused, RunFolder
from trainer.contract.messages import Message
from trainer.files.checkpoint import CheckpointError
from trainer.lm.backbone import Backbone
from trainer.lm.generate import Generated
from trainer.reward.scorer import Scorer, load_scorer


class Choice(NamedTuple):
    """What was kept of n answers to a prompt."""

    place: int  # of the kept one among them
    score: float  # its own
    mean_score: float  # of all n: what a single answer scores on average


def kl_nats_at_most(n: int) -> float:
    """KL(best of n ∥ policy) in nats per answer: log n - (n - 1) / n.

    Stiennon et al. 2020, arXiv:2009.01325, appendix G.3. Exact where no two answers can be the same; else it is an upper bound
    (Beirami et al. 2024, arXiv:2401.01879, theorem 1). Its unit is an answer, whatever the length.
    """
    return math.log(n) - (n - 1) / n


def open_scorer(folder: RunFolder, policy: Backbone) -> Scorer:
    """The run's reward on the policy's own base. Raises Refused or BackboneError with the reason where it cannot be used."""
    try:
        return load_scorer(_reward(folder), policy)
    except CheckpointError as error:
        raise Refused(Message("reward_cannot_be_used", reason=error.message)) from error


def open_if_asked(folder: RunFolder, policy: Backbone) -> Scorer | None:
    """What answers are chosen by, or only scored. Where they are only scored and it cannot be used, they go without."""
    config = cast(SampleConfig, folder.config)
    if config.best_of > 1:
        return open_scorer(folder, policy)
    if "reward" not in folder.inputs or (_has_adapters(folder) and config.dtype != "float32"):
        return None  # answers are written as they would be without
    try:
        return open_scorer(folder, policy)
    except SpokenError as error:
        print(f"The answers are not scored: {error}", flush=True)
        return None


def arithmetic(folder: RunFolder) -> str:
    """The run's `dtype`, as its reward takes it: adapters are merged into the policy's weights, and bfloat16 swallows them.

    Raises Refused where bfloat16 was asked for all the same.
    """
    config = cast(SampleConfig, folder.config)
    if config.best_of == 1 or not _has_adapters(folder):
        return config.dtype
    if config.dtype == "bfloat16":
        setting, choice = "sample.dtype", "sample.dtype.auto"
        raise Refused(Message("reward_needs_float32", folder=str(_reward(folder)), setting=setting, choice=choice))
    return "float32"


def choose(
    scorer: Scorer,
    prompt_ids: Sequence[Sequence[int]],  # one for each answer; the n answers to a prompt stand together
    answers: Sequence[Generated],
    n: int,
    at_once: int,
    check: Callable[[], None],
) -> list[Choice]:
    """Of each n answers the one with the highest score, of equal ones the first drawn.

    The score is what PPO is paid before it looks at length: a lower estimate where the labels do not agree. Raises
    FloatingPointError where a score is not finite.
    """
    scores = scores_of(scorer, prompt_ids, answers, at_once, check)
    if not all(map(math.isfinite, scores)):
        raise FloatingPointError("the scores of answers are not finite")
    return [_choice(scores[start : start + n]) for start in range(0, len(scores), n)]


def scores_of(
    scorer: Scorer,
    prompt_ids: Sequence[Sequence[int]],  # one for each answer
    answers: Sequence[Generated],
    at_once: int,
    check: Callable[[], None],
) -> list[float]:
    """What the reward says of each answer; it may be no finite number."""
    scores: list[float] = []
    for start in range(0, len(answers), at_once):
        check()
        given = answers[start : start + at_once]
        cut = [one.finish_reason == "length" for one in given]
        scores += scorer.score(prompt_ids[start : start + at_once], [one.ids for one in given], cut).tolist()
    return scores


def _choice(scores: Sequence[float]) -> Choice:
    place = max(range(len(scores)), key=scores.__getitem__)  # the first of those that are highest
    return Choice(place, scores[place], sum(scores) / len(scores))


def _has_adapters(folder: RunFolder) -> bool:
    return (_reward(folder) / "adapter_config.json").exists()


def _reward(folder: RunFolder) -> Path:
    return Path(folder.resolve(folder.inputs["reward"]))
