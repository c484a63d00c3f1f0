"""The reward run: labels in, a reward checkpoint out, with an honest account of how far it agrees with people.

Read the labels; read every answer once with the frozen base; fit the head on all folds but one and predict that one; fit it on
everything; where there are enough labels, train adapters too and keep what is better on a held-out fold; put the scores on the
panel's scale; say whether PPO may use it. For the head nothing is chosen on a prompt that is then reported as held out: layers,
prior and covariates are found by the evidence inside each fold.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer import checkpoint, likelihoods, validation
from trainer.backbone import Backbone, load_backbone
from trainer.config import RewardConfig
from trainer.data import Comparison, Labels, Rating, TokenSequence, encode, folds, read_labels
from trainer.features import FeatureCache, choose_layers, groups, pooled_states
from trainer.folder import Refused, RunFolder
from trainer.metrics import Metrics
from trainer.reward_adapter import FineTuned, train
from trainer.reward_head import Head, HeadSettings, Rows, fit
from trainer.scorer import pessimistic, write_adapter, write_head

FEWEST_PROMPTS = 5
LABEL_COUNTS = ("labels", "skipped", "prompts", "comparisons", "ratings", "ties", "both_bad")  # of everything judged


class HeldOut(NamedTuple):
    """Predictions for labels by rewards that did not see their prompts."""

    comparisons: list[Comparison]
    delta: Tensor  # reward of left minus right
    loglik: Tensor
    comparison_fold: Tensor
    ratings: list[Rating]
    reward: Tensor
    rating_loglik: Tensor
    rating_fold: Tensor


def run(folder: RunFolder) -> None:
    """Do the reward run of this folder. Raises Refused or BackboneError in a person's words, Cancelled when asked to stop."""
    config = folder.config
    if not isinstance(config, RewardConfig):
        raise Refused(f"{folder.path.name} is a {folder.kind} run, not a reward run")
    started = time.monotonic()
    labels = read_labels(folder.path)
    refuse_too_few(labels, config)
    backbone = load_backbone(folder.resolve(folder.inputs["base"]))
    sequences = [encode(backbone, answer, config.max_tokens) for answer in labels.answers]
    features = read_answers(folder, backbone, sequences, config)
    split = folds(labels.prompt_keys, min(config.folds, len(labels.prompt_keys)), config.seed)
    held = cross_validate(folder, labels, features, split, config)
    head = fit_head(features, labels.comparisons, labels.ratings, config)
    figures = held_out_figures(labels, held, sequences)
    figures |= {"form": "head", "groups": head.shares()}
    tuned: FineTuned | None = None
    if wants_adapter(labels, config):
        tuned, compared = try_adapter(folder, labels, sequences, features, split, held, head, config)
        figures |= compared
    rewards = pessimistic(head, features, config.pessimism) if tuned is None else tuned.rewards(sequences, folder.check)
    scale = panel_scale(labels, rewards)
    lengths = torch.tensor([len(item.response_ids) for item in sequences], dtype=torch.float64)
    figures |= scale | {"length_correlation": validation.correlation(rewards, lengths.log())}
    figures["agreement_ceiling"], figures["agreement_pairs"] = validation.agreement(labels)
    figures["annotators"] = validation.annotators(held.comparisons, held.delta, head.log_nu)
    passed, reason = validation.gate(figures)
    figures |= {"gate_passed": passed, "gate_reason": reason, "seconds": round(time.monotonic() - started, 3)}
    save(folder, backbone, head, tuned, config, figures)
    Metrics(folder.file("metrics.jsonl")).write(
        len(set(split.values())) + 1,
        {f"reward/{name}": float(value) for name, value in figures.items() if isinstance(value, int | float)},
    )
    folder.finish("done", reason=reason, **figures)


def refuse_too_few(labels: Labels, config: RewardConfig) -> None:
    """Raise Refused, saying what is there and what is needed."""
    if labels.usable < config.min_labels:
        raise Refused(
            f"There are {labels.usable} usable labels; a reward run needs at least {config.min_labels}. "
            f"{config.min_labels - labels.usable} more and it can start."
        )
    if len(labels.prompt_keys) < FEWEST_PROMPTS:
        raise Refused(
            f"All labels are about {len(labels.prompt_keys)} prompts; at least {FEWEST_PROMPTS} are needed, "
            "because accuracy is measured on prompts that were held out."
        )


def read_answers(
    folder: RunFolder, backbone: Backbone, sequences: Sequence[TokenSequence], config: RewardConfig
) -> dict[str, Tensor]:
    """Group -> (answers, D) features, from the cache or in one pass over the texts. A cancelled run keeps what it has read."""
    layers = choose_layers(backbone)
    place = folder.inputs.get("cache")
    cache = FeatureCache((folder.path / place) if place else folder.file("state"), backbone, layers)

    def tick(done: int, total: int) -> None:
        folder.check()
        folder.progress(done, total, f"read {done} of {total} answers")

    means = pooled_states(backbone, sequences, layers, cache, tick)
    lengths = torch.tensor([len(item.response_ids) for item in sequences], dtype=torch.float32)
    return groups(means, lengths, config.length_covariate)


def fit_head(
    features: dict[str, Tensor], comparisons: Sequence[Comparison], ratings: Sequence[Rating], config: RewardConfig
) -> Head:
    return fit(features, comparisons, ratings, HeadSettings(config.both_bad_weight, config.rating_weight))


def cross_validate(
    folder: RunFolder, labels: Labels, features: dict[str, Tensor], split: dict[str, int], config: RewardConfig
) -> HeldOut:
    """Every label predicted once, by a head fitted to the other folds."""
    metrics = Metrics(folder.file("metrics.jsonl"))
    metrics.rewind(0)
    parts = []
    count = len(set(split.values()))
    for number in range(count):
        folder.check()
        folder.progress(number, count + 1, f"fit without fold {number + 1} of {count}")
        head = fit_head(
            features,
            [label for label in labels.comparisons if split[label.prompt_key] != number],
            [label for label in labels.ratings if split[label.prompt_key] != number],
            config,
        )
        part = predict(labels, split, number, head.reward(features), head)
        parts.append(part)
        metrics.write(number + 1, fold_metrics(part))
    folder.progress(count, count + 1, "fit to all labels")
    return HeldOut(
        [label for part in parts for label in part.comparisons],
        torch.cat([part.delta for part in parts]),
        torch.cat([part.loglik for part in parts]),
        torch.cat([part.comparison_fold for part in parts]),
        [label for part in parts for label in part.ratings],
        torch.cat([part.reward for part in parts]),
        torch.cat([part.rating_loglik for part in parts]),
        torch.cat([part.rating_fold for part in parts]),
    )


def predict(labels: Labels, split: dict[str, int], fold: int, rewards: Tensor, people: Head) -> HeldOut:
    """What rewards (answers,) and people's parameters say about the labels of one fold."""
    comparisons = [label for label in labels.comparisons if split[label.prompt_key] == fold]
    ratings = [label for label in labels.ratings if split[label.prompt_key] == fold]
    pairs = Rows(comparisons, [], HeadSettings())
    rated = Rows([], ratings, HeadSettings(), levels=False)
    delta = rewards[pairs.left] - rewards[pairs.right]
    nu = torch.tensor(people.log_nu, dtype=torch.float64)
    own = rewards[rated.rated]
    return HeldOut(
        comparisons,
        delta,
        likelihoods.comparison(delta, pairs.verdict, nu),
        torch.full((len(comparisons),), fold),
        ratings,
        own,
        rated.loglik(own, rated.known(people))
        if ratings and people.cutpoints
        else torch.zeros(len(ratings), dtype=torch.float64),
        torch.full((len(ratings),), fold),
    )


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


def wants_adapter(labels: Labels, config: RewardConfig) -> bool:
    return config.method == "lora" or (config.method == "auto" and labels.usable >= config.lora_min_labels)


def try_adapter(
    folder: RunFolder,
    labels: Labels,
    sequences: Sequence[TokenSequence],
    features: dict[str, Tensor],
    split: dict[str, int],
    held: HeldOut,
    head: Head,
    config: RewardConfig,
) -> tuple[FineTuned | None, dict[str, Any]]:
    """Train adapters without the first fold and compare on it; the better, trained on everything, and its figures.

    Returns None for the adapters when the head is kept. With method `lora` they are kept whatever the comparison says.
    """
    source = folder.resolve(folder.inputs["base"])

    def trained(comparisons: list[Comparison], ratings: list[Rating], people: Head, what: str) -> FineTuned:
        def tick(done: int, total: int, loss: float) -> None:
            folder.check()
            folder.progress(done, total, f"{what}, loss {loss:.3f}")

        return train(load_backbone(source), sequences, comparisons, ratings, config, people, tick)

    rest = [label for label in labels.comparisons if split[label.prompt_key] != 0]
    rest_rated = [label for label in labels.ratings if split[label.prompt_key] != 0]
    people = fit_head(features, rest, rest_rated, config)
    rewards = trained(rest, rest_rated, people, "adapters without fold 1").rewards(sequences, folder.check)
    mine = held_out_figures(labels, predict(labels, split, 0, rewards, people), sequences)
    theirs = held_out_figures(labels, predict(labels, split, 0, people.reward(features), people), sequences)
    compared = {
        "adapter_accuracy": headline(mine),
        "head_accuracy": headline(theirs),
        "compared_on": mine["decided"] or mine["rating_pairs"],
    }
    if config.method == "auto" and headline(mine) <= headline(theirs):
        return None, compared
    whole = trained(labels.comparisons, labels.ratings, head, "adapters on all labels")
    # Of the held-out fold only, and counts of what those rest on; how many labels there are stays what it was.
    chosen = {name: value for name, value in mine.items() if name not in LABEL_COUNTS}
    return whole, chosen | compared | {"form": "lora", "figures_on": "choosing fold"}


def headline(figures: dict[str, Any]) -> float:
    """The accuracy to choose by: of comparisons, or of ratings where there are none."""
    return figures["accuracy"] if figures["accuracy"] is not None else figures["rating_accuracy"] or 0.0


def panel_scale(labels: Labels, rewards: Tensor) -> dict[str, float | str]:
    """Mean and deviation of the reward on the panel, or on all judged answers where no panel was given."""
    panel = rewards[labels.panel] if len(labels.panel) > 1 else rewards
    return {
        "panel": "panel" if len(labels.panel) > 1 else "labelled answers",
        "panel_mean": float(panel.mean()),
        "panel_deviation": max(float(panel.std()), 1e-6),
    }


def save(
    folder: RunFolder, backbone: Backbone, head: Head, tuned: FineTuned | None, config: RewardConfig, figures: dict[str, Any]
) -> None:
    """Write checkpoint/: the kept reward, its scale, its figures, and the digests of what it learned from."""
    settings = {"max_tokens": config.max_tokens, "pessimism": config.pessimism}
    settings |= {name: figures[name] for name in ("panel_mean", "panel_deviation")}
    place = folder.file("checkpoint")
    base = {"source": backbone.source, "sha256": backbone.sha256}
    if Path(backbone.source).exists():
        base["relative"] = os.path.relpath(backbone.source, place)
    inputs = {
        name: hashlib.sha256(folder.file(name).read_bytes()).hexdigest()
        for name in ("preferences.jsonl", "ratings.jsonl", "panel.jsonl")
        if folder.file(name).exists()
    }
    manifest = {
        "kind": "reward",
        "form": "head" if tuned is None else "lora",
        "base": base,
        "inputs": inputs,
        "figures": {name: figures[name] for name in ("labels", "accuracy", "accuracy_low", "accuracy_high", "gate_passed")},
    }
    checkpoint.save(
        place,
        lambda inner: write_head(inner, head, settings) if tuned is None else write_adapter(inner, tuned, settings),
        manifest,
    )
