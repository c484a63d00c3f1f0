"""The reward run: labels in, a reward checkpoint out, with an honest account of how far it agrees with people.

Read the labels; read every answer once with the frozen base; fit the head on all folds but one and predict that one; fit it on
everything; where there are enough labels, train adapters too and keep what is better on a held-out fold; put the scores on the
panel's scale; say whether PPO may use it. For the head nothing is chosen on a prompt that is then reported as held out: layers,
prior and covariates are found by the evidence inside each fold.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from trainer import checkpoint, validation
from trainer.backbone import Backbone, load_backbone
from trainer.card import write_card
from trainer.config import RewardConfig
from trainer.data import Labels, TokenSequence, encode, read_labels
from trainer.features import FeatureCache, choose_layers, groups, pooled_states
from trainer.folder import Refused, RunFolder
from trainer.held_out import (
    HeldOut,
    Split,
    cross_validate,
    fold_metrics,
    headline,
    held_out_figures,
    join,
    predict,
    split_prompts,
)
from trainer.metrics import Metrics
from trainer.reward_adapter import FineTuned, train
from trainer.reward_head import Head, HeadSettings, fit
from trainer.scorer import JUDGE, pessimistic, write_adapter, write_head

FEWEST_PROMPTS = 5
LABEL_COUNTS = ("labels", "skipped", "prompts", "comparisons", "ratings", "ties", "both_bad")  # of everything judged


class Kept(NamedTuple):
    """What a reward checkpoint holds: the head, or adapters in its place, and the judge."""

    head: Head
    tuned: FineTuned | None
    judge: Head | None


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
    split = split_prompts(labels, config)
    own = labels.on(split.folds)  # what the reward learns from; the rest is the judge's
    parts = predict_held_out(folder, own, features, split, config)
    folder.progress(split.count, split.count + 1, "fit to all labels")
    head = fit_head(features, own, config)
    judge = fit_head(features, labels.on(split.judge), config) if split.judge else None
    held = join([*parts, predict(labels.on(split.judge), split.count, head.reward(features), head)])
    figures = held_out_figures(labels, held, sequences)
    figures |= {"form": "head", "groups": head.shares(), "judge_labels": labels.on(split.judge).usable}
    tuned: FineTuned | None = None
    if wants_adapter(labels, config):
        tuned, compared = try_adapter(folder, own, sequences, features, split, head, config)
        figures |= compared
    rewards = pessimistic(head, features, config.pessimism) if tuned is None else tuned.rewards(sequences, folder.check)
    if judge is not None:
        figures |= judge_figures(own, judge, rewards, features)
    lengths = torch.tensor([len(item.response_ids) for item in sequences], dtype=torch.float64)
    figures |= {"length_correlation": validation.correlation(rewards, lengths.log())}
    figures["agreement_ceiling"], figures["agreement_pairs"] = validation.agreement(labels)
    figures["annotators"] = validation.annotators(held.comparisons, held.delta, head.log_nu)
    passed, reason = validation.gate(figures)
    figures |= {"gate_passed": passed, "gate_reason": reason}
    scale = panel_scale(labels, rewards, lengths)
    judge_scale = panel_scale(labels, judge.reward(features), lengths) if judge is not None else None
    save(folder, backbone, Kept(head, tuned, judge), figures, scale, judge_scale)
    figures |= scale | {"seconds": round(time.monotonic() - started, 3)}
    Metrics(folder.file("metrics.jsonl")).write(
        split.count + 1,
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


def fit_head(features: dict[str, Tensor], labels: Labels, config: RewardConfig) -> Head:
    return fit(features, labels.comparisons, labels.ratings, HeadSettings(config.both_bad_weight, config.rating_weight))


def predict_held_out(
    folder: RunFolder, labels: Labels, features: dict[str, Tensor], split: Split, config: RewardConfig
) -> list[HeldOut]:
    """Every label of the reward's prompts predicted once, by a head fitted to the other folds."""
    metrics = Metrics(folder.file("metrics.jsonl"))
    metrics.rewind(0)

    def tick(fold: int, part: HeldOut) -> None:
        metrics.write(fold + 1, fold_metrics(part))
        folder.check()
        folder.progress(fold + 1, split.count + 1, f"fitted without fold {fold + 1} of {split.count}")

    return cross_validate(labels, split, lambda rest: fit_head(features, rest, config), lambda head: head.reward(features), tick)


def judge_figures(labels: Labels, judge: Head, rewards: Tensor, features: dict[str, Tensor]) -> dict[str, Any]:
    """How the judge does on the reward's labels, none of which it saw, and how far the two agree about all answers."""
    own = judge.reward(features)
    said = predict(labels, 0, own, judge)
    figures = fold_metrics(said)
    return {
        "judge_accuracy": None if math.isnan(figures["reward/fold_accuracy"]) else figures["reward/fold_accuracy"],
        "judge_correlation": validation.correlation(own, rewards),
    }


def wants_adapter(labels: Labels, config: RewardConfig) -> bool:
    return config.method == "lora" or (config.method == "auto" and labels.usable >= config.lora_min_labels)


def try_adapter(
    folder: RunFolder,
    labels: Labels,  # the reward's
    sequences: Sequence[TokenSequence],
    features: dict[str, Tensor],
    split: Split,
    head: Head,
    config: RewardConfig,
) -> tuple[FineTuned | None, dict[str, Any]]:
    """Train adapters without the first fold and compare on it; the better, trained on everything, and its figures.

    Returns None for the adapters when the head is kept. With method `lora` they are kept whatever the comparison says.
    """
    source = folder.resolve(folder.inputs["base"])

    def trained(labels: Labels, people: Head, what: str) -> FineTuned:
        def tick(done: int, total: int, loss: float) -> None:
            folder.check()
            folder.progress(done, total, f"{what}, loss {loss:.3f}")

        return train(load_backbone(source), sequences, labels.comparisons, labels.ratings, config, people, tick)

    rest, held = labels.on(split.outside(0)), labels.on(split.inside(0))
    people = fit_head(features, rest, config)
    rewards = trained(rest, people, "adapters without fold 1").rewards(sequences, folder.check)
    mine = held_out_figures(labels, predict(held, 0, rewards, people), sequences)
    theirs = held_out_figures(labels, predict(held, 0, people.reward(features), people), sequences)
    compared = {
        "adapter_accuracy": headline(mine),
        "head_accuracy": headline(theirs),
        "compared_on": mine["decided"] or mine["rating_pairs"],
    }
    if config.method == "auto" and headline(mine) <= headline(theirs):
        return None, compared
    whole = trained(labels, head, "adapters on all labels")
    # Of the held-out fold only, and counts of what those rest on; how many labels there are stays what it was.
    chosen = {name: value for name, value in mine.items() if name not in LABEL_COUNTS}
    return whole, chosen | compared | {"form": "lora", "figures_on": "choosing fold"}


def panel_scale(labels: Labels, rewards: Tensor, lengths: Tensor) -> dict[str, float | str]:
    """Mean and deviation of the reward on the panel, or on all judged answers where no panel was given; and how it goes with
    length: its slope on the log length over all answers.
    """
    panel = rewards[labels.panel] if len(labels.panel) > 1 else rewards
    log_length = lengths.double().log()
    apart = log_length - log_length.mean()
    slope = float((apart * rewards.double()).sum() / apart.square().sum().clamp(min=1e-9))
    return {
        "panel": "panel" if len(labels.panel) > 1 else "labelled answers",
        "panel_mean": float(panel.mean()),
        "panel_deviation": max(float(panel.std()), 1e-6),
        "length_slope": slope,
        "length_mean": float(log_length.mean()),
    }


def save(
    folder: RunFolder,
    backbone: Backbone,
    kept: Kept,
    figures: dict[str, Any],
    scale: dict[str, Any],
    judge_scale: dict[str, Any] | None,
) -> None:
    """Write checkpoint/: the kept reward and its judge, their scales, the figures, and the digests of what they learned from."""
    config = cast(RewardConfig, folder.config)
    settings = {"max_tokens": config.max_tokens, "pessimism": config.pessimism}
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
        "form": "head" if kept.tuned is None else "lora",
        "base": base,
        "inputs": inputs,
        "figures": {name: figures[name] for name in ("labels", "accuracy", "accuracy_low", "accuracy_high", "gate_passed")},
    }

    def write(inner: Path) -> None:
        if kept.tuned is None:
            write_head(inner, kept.head, settings | scale)
        else:
            write_adapter(inner, kept.tuned, settings | scale)
        if kept.judge is not None and judge_scale is not None:
            write_head(inner, kept.judge, {**settings, **judge_scale, "pessimism": 0.0}, JUDGE)
        write_card(inner, manifest, folder.path, figures)

    checkpoint.save(place, write, manifest)
