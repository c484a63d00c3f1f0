"""Labels predicted by rewards that did not see their prompts: which prompts learn what, and what is said of the others.

Prompts, never single labels, are dealt out, so that nothing about a held-out prompt was trained on. The judge's prompts are held
out of the reward altogether: the finished reward predicts them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer import likelihoods, validation
from trainer.config import RewardConfig
from trainer.data import Comparison, Labels, Rating, TokenSequence, folds
from trainer.reward_head import Head, HeadSettings, Rows

FEWEST_FOR_JUDGE = 30  # labels; fewer make no judge, and the reward learns from them too


@dataclass(frozen=True)
class Split:
    """Who learns from which prompts (hashes): the reward, in folds that are held out in turn, and the judge."""

    folds: dict[str, int]  # of the reward's prompts
    judge: frozenset[str]

    @property
    def count(self) -> int:
        return len(set(self.folds.values()))

    def inside(self, fold: int) -> set[str]:
        return {key for key, found in self.folds.items() if found == fold}

    def outside(self, fold: int) -> set[str]:
        """The prompts that a reward learns from when this fold is held out."""
        return {key for key, found in self.folds.items() if found != fold}


class HeldOut(NamedTuple):
    """Predictions for labels by rewards that did not see their prompts."""

    comparisons: list[Comparison]
    delta: Tensor  # (N,) reward of left minus right
    loglik: Tensor  # (N,) nats
    comparison_fold: Tensor  # (N,) int64
    ratings: list[Rating]
    reward: Tensor  # (M,)
    rating_loglik: Tensor  # (M,) nats
    rating_fold: Tensor  # (M,) int64


def split_prompts(labels: Labels, config: RewardConfig) -> Split:
    """Deal the prompts out by their salted hashes: the judge's share first, the rest in folds."""
    keys = labels.prompt_keys
    order = sorted(keys, key=lambda key: hashlib.sha256(f"judge:{config.seed}:{key}".encode()).digest())
    judge = frozenset(order[: round(config.judge_share * len(keys))])
    if labels.on(judge).usable < FEWEST_FOR_JUDGE:
        judge = frozenset()
    rest = [key for key in keys if key not in judge]
    return Split(folds(rest, min(config.folds, len(rest)), config.seed), judge)


def predict(labels: Labels, fold: int, rewards: Tensor, people: Head) -> HeldOut:
    """What rewards (answers,) and people's parameters say about these labels, which `fold` held out."""
    pairs = Rows(labels.comparisons, [], HeadSettings())
    rated = Rows([], labels.ratings, HeadSettings(), levels=False)
    delta = rewards[pairs.left] - rewards[pairs.right]
    nu = torch.tensor(people.log_nu, dtype=torch.float64)
    own = rewards[rated.rated]
    known = labels.ratings and people.cutpoints
    return HeldOut(
        labels.comparisons,
        delta,
        likelihoods.comparison(delta, pairs.verdict, nu),
        torch.full((len(labels.comparisons),), fold),
        labels.ratings,
        own,
        rated.loglik(own, rated.known(people)) if known else torch.zeros(len(labels.ratings), dtype=torch.float64),
        torch.full((len(labels.ratings),), fold),
    )


def cross_validate(
    labels: Labels,
    split: Split,
    fit: Callable[[Labels], Head],
    rewards: Callable[[Head], Tensor],  # of every answer
    tick: Callable[[int, HeldOut], None],  # after each fold, with its part; may raise to cancel
) -> list[HeldOut]:
    """Every label of the reward's prompts predicted once, by a head fitted to the other folds; one part for each."""
    parts = []
    for fold in range(split.count):
        head = fit(labels.on(split.outside(fold)))
        parts.append(predict(labels.on(split.inside(fold)), fold, rewards(head), head))
        tick(fold, parts[-1])
    return parts


def join(parts: Iterable[HeldOut]) -> HeldOut:
    """Parts as one."""
    columns = list(zip(*parts, strict=True))
    return HeldOut(*(_join(column) for column in columns))


def held_out_figures(labels: Labels, held: HeldOut, sequences: Sequence[TokenSequence]) -> dict[str, Any]:
    """Figures of the held-out predictions, with the counts that they rest on."""
    lengths = torch.tensor([len(item.response_ids) for item in sequences])
    return {
        "labels": labels.usable,
        "skipped": labels.skipped,
        "prompts": len(labels.prompt_keys),
        **validation.comparison_figures(held.comparisons, held.delta, held.loglik, held.comparison_fold, lengths),
        **validation.rating_figures(held.ratings, held.reward, held.rating_loglik, held.rating_fold),
    }


def fold_metrics(part: HeldOut) -> dict[str, float]:
    """The metrics.jsonl row of one fold; NaN, written as null, where the fold has nothing of the kind."""
    sign = torch.tensor([{"left": 1.0, "right": -1.0}.get(label.choice, 0.0) for label in part.comparisons])
    hits = validation.correct(part.delta * sign)[sign != 0]
    values = {
        "reward/fold_accuracy": validation.mean(hits),
        "reward/fold_nll": validation.mean(-part.loglik),
        "reward/fold_rating_nll": validation.mean(-part.rating_loglik),
    }
    return {name: float("nan") if value is None else value for name, value in values.items()}


def headline(figures: Mapping[str, Any]) -> float:
    """The accuracy to choose by: of comparisons, or of ratings where there are none."""
    accuracy = figures["accuracy"] if figures["accuracy"] is not None else figures["rating_accuracy"]
    return float(accuracy or 0.0)


def _join(column: Sequence[Any]) -> Any:
    return torch.cat(list(column)) if isinstance(column[0], Tensor) else [label for part in column for label in part]
