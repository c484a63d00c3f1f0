"""Labels predicted by rewards that did not see their prompts: which prompts learn what, and what is said of the others.

Prompts, never single labels, are dealt out, so that nothing about a held-out prompt was trained on. The judge's prompts are held
out of the reward altogether: the finished reward predicts them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.contract.config import RewardConfig
from trainer.reward import likelihoods, validation
from trainer.reward.data import Labels, TokenSequence, folds
from trainer.reward.head.label_rows import HeadSettings, Rows
from trainer.reward.head.model import Head
from trainer.reward.validation import HeldOut

FEWEST_PROMPTS = 5  # accuracy is measured on prompts that were held out


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


def split_prompts(labels: Labels, config: RewardConfig) -> Split:
    """Deal the prompts out by their salted hashes: the judge's share, the rest in folds.

    Whether a prompt is the judge's depends on nothing but itself, so none changes sides when labels are added.
    """
    keys = labels.prompt_keys
    judge = frozenset(key for key in keys if _share(f"judge:{config.seed}:{key}") < config.judge_share)
    rest = [key for key in keys if key not in judge]
    enough = len(rest) >= FEWEST_PROMPTS and labels.on(set(rest)).usable >= config.min_labels
    if not enough or labels.on(judge).usable < config.judge_min_labels:  # the reward comes first
        judge, rest = frozenset(), keys
    return Split(folds(rest, min(config.folds, len(rest)), config.seed), judge)


def predict(labels: Labels, fold: int, rewards: Tensor, people: Head, axis: Tensor | None = None) -> HeldOut:
    """What rewards (answers,) and people's parameters say about these labels, which `fold` held out.

    `axis` (answers,): of tastes, where rewards are of the place that the head follows; without it people's tastes are one.
    """
    pairs = Rows(labels.comparisons, [], HeadSettings(), levels=False)
    rated = Rows([], labels.ratings, HeadSettings(), levels=False)
    delta, reward = rewards[pairs.left] - rewards[pairs.right], rewards[rated.rated]
    own, felt = delta, reward
    known = pairs.known(people)
    if people.taste and axis is not None:
        own = delta + (known["taste"] - people.followed)[pairs.person] * (axis[pairs.left] - axis[pairs.right])
        felt = reward + (rated.known(people)["taste"] - people.followed)[rated.person] * axis[rated.rated]
    scored = labels.ratings and people.cutpoints
    orders = Rows([], [], HeadSettings(), levels=False, rankings=labels.rankings)
    apart = orders.ranked.differences(rewards[:, None])[:, 0]
    by_taste = apart
    if people.taste and axis is not None:
        place = (orders.known(people)["taste"] - people.followed)[orders.person]
        by_taste = apart + place * orders.ranked.differences(axis[:, None])[:, 0]
    return HeldOut(
        labels.comparisons,
        delta,
        own,
        likelihoods.comparison(own, pairs.verdict, known["log_nu"][0], pairs.reliability(known)),
        torch.full((len(labels.comparisons),), fold),
        labels.ratings,
        reward,
        rated.loglik(felt, rated.known(people)) if scored else torch.zeros(len(labels.ratings), dtype=torch.float64),
        labels.rankings,
        orders.ranked.hits(apart),
        orders.ranked.hits(by_taste),
        orders.loglik(by_taste, orders.known(people)),
    )


def cross_validate(
    labels: Labels,
    split: Split,
    fit: Callable[[Labels], Head],
    features: Mapping[str, Tensor],  # of every answer
    tick: Callable[[int, HeldOut], None] = lambda _fold, _part: None,  # after each fold, with its part; may raise to cancel
) -> tuple[list[HeldOut], list[Head]]:
    """Every label of the reward's prompts predicted once, by a head fitted to the other folds: a part and a head for each."""
    parts, heads = [], []
    for fold in range(split.count):
        head = fit(labels.on(split.outside(fold)))
        parts.append(predict(labels.on(split.inside(fold)), fold, head.reward(features), head, head.axis(features)))
        heads.append(head)
        tick(fold, parts[-1])
    return parts, heads


def join(parts: Iterable[HeldOut]) -> HeldOut:
    """Parts as one."""
    columns = list(zip(*parts, strict=True))
    return HeldOut(*(_join(column) for column in columns))


def held_out_figures(
    labels: Labels, held: HeldOut, sequences: Sequence[TokenSequence], within_person: bool = True
) -> dict[str, Any]:
    """Figures of the held-out predictions, with the counts that they rest on; `within_person` as for `rating_figures`."""
    lengths = torch.tensor([len(item.response_ids) for item in sequences])
    rewritten = torch.tensor([not label.is_verdict for label in held.comparisons], dtype=torch.bool)
    improved = held.delta * validation.signs(held.comparisons)
    said = held.verdicts
    return {
        "labels": labels.usable,
        "skipped": labels.skipped,
        "prompts": len(labels.prompt_keys),
        "rewrites": int(rewritten.sum()),
        "rewrite_accuracy": validation.mean(validation.correct(improved)[rewritten]),
        **validation.comparison_figures(said, lengths),
        **validation.rating_figures(held.ratings, held.reward, held.rating_loglik, within_person),
    }


def fold_metrics(part: HeldOut) -> dict[str, float]:
    """The metrics.jsonl row of one fold; NaN, written as null, where the fold has nothing of the kind."""
    values = {
        "reward/fold_accuracy": validation.accuracy(part),
        "reward/fold_nll": validation.mean(-part.verdicts.loglik),
        "reward/fold_rating_nll": validation.mean(-part.rating_loglik),
    }
    return {name: float("nan") if value is None else value for name, value in values.items()}


def headline(figures: Mapping[str, Any]) -> float:
    """The accuracy to choose by: of comparisons, or of ratings where there are none."""
    accuracy = figures["accuracy"] if figures["accuracy"] is not None else figures["rating_accuracy"]
    return float(accuracy or 0.0)


def _share(text: str) -> float:
    """A number in [0, 1) that is the text's own."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _join(column: Sequence[Any]) -> Any:
    return torch.cat(list(column)) if isinstance(column[0], Tensor) else [label for part in column for label in part]
