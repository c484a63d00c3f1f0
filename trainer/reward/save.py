"""What a reward run leaves: the files of its heads, the scales they are read on, and what they learned from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainer.contract.config import RewardConfig
from trainer.contract.folder import RunFolder
from trainer.files import checkpoint
from trainer.files.card import write_card
from trainer.lm.backbone import Backbone
from trainer.reward.adapter import FineTuned
from trainer.reward.data import Labels, most_tokens
from trainer.reward.flags import flag_cost
from trainer.reward.head.model import Head
from trainer.reward.head_files import CRITERION, JUDGE, MEMBER, jackknife_deviation, write_adapter, write_head
from trainer.reward.people.checks import PEOPLE
from trainer.reward.score_weights import FLAGS, OVERALL, ScoreWeights

INPUTS = ("preferences.jsonl", "ratings.jsonl", "rankings.jsonl", "panel.jsonl", PEOPLE)


@dataclass(frozen=True)
class RewardHeads:
    """The heads of a reward checkpoint; adapters stand in the overall head's place where there are any."""

    head: Head
    members: list[Head]  # of the same verdicts, each fitted without one fold of the prompts
    tuned: FineTuned | None
    judge: Head | None
    criteria: dict[str, Head]
    flags: Head | None
    typical_cost: float  # of a flagged answer; 0 without a head of the flags


@dataclass(frozen=True)
class Scales:
    """How each head is read: its mean and deviation on the panel; and how the scores are mixed."""

    heads: dict[str, dict[str, Any]]  # overall, judge, criteria
    members: list[float]  # each one's mean on the panel
    unit: float  # of the overall reward, one of a member's
    mix: ScoreWeights
    length_slope: float  # of the mixed score on log length, over all labelled answers
    length_mean: float
    panel: str
    scores: Tensor  # (answers,) the mixed score of every answer


def panel_rows(labels: Labels) -> Tensor:
    """Indices of the answers that scores are put on the scale of: the panel's; all, where no panel was given."""
    return torch.tensor(labels.panel if len(labels.panel) > 1 else range(len(labels.answers)))


def member_unit(kept: RewardHeads, labels: Labels, features: dict[str, Tensor], rewards: Tensor) -> float:
    """How many units of the overall reward one of a head's is: 1, but where adapters stand in the head's place."""
    if kept.tuned is None:
        return 1.0
    rows = panel_rows(labels)
    return float(_moments(rewards[rows])["panel_deviation"] / _moments(kept.head.reward(features)[rows])["panel_deviation"])


def disagreement(kept: RewardHeads, labels: Labels, features: dict[str, Tensor]) -> Tensor:
    """(answers,) how far off the overall reward may be, beside what it is on the panel, as the members disagree."""
    rewards, rows = torch.stack([member.reward(features) for member in kept.members], 1), panel_rows(labels)
    return jackknife_deviation(rewards - rewards[rows].mean(0))


def unseen(kept: RewardHeads, labels: Labels, features: dict[str, Tensor], rewards: Tensor, folds: Mapping[str, int]) -> Tensor:
    """(answers,) rewards as they are of new answers: where labels spoke of a prompt, by the member that was fitted without it.

    A head knows the answers that it learned from, and sets them further apart than others. Adapters, which are fitted once, are
    as they are.
    """
    if kept.tuned is not None:
        return rewards
    found = rewards.clone()
    for fold, member in enumerate(kept.members):
        rows = [index for index, answer in enumerate(labels.answers) if folds.get(answer.prompt_key) == fold]
        found[rows] += (member.reward(features) - kept.head.reward(features))[rows]
    return found


def scale(
    kept: RewardHeads,
    labels: Labels,
    features: dict[str, Tensor],
    rewards: Tensor,  # (answers,) of the overall verdict, what is taken off included
    lengths: Tensor,
    config: RewardConfig,
    folds: Mapping[str, int],  # of the prompts (hashes) that the members were fitted without in turn
    unit: float = 1.0,  # as `member_unit` says
) -> Scales:
    """Put every head on the panel's scale (on all answers', where no panel was given), and their mix again.

    The scale of overall verdicts is that of new answers: `unseen`.
    """
    rows = panel_rows(labels)
    own = {OVERALL: rewards} | {key: head.reward(features) for key, head in kept.criteria.items()}
    if kept.judge is not None:
        own[JUDGE] = kept.judge.reward(features)
    new = own | {OVERALL: unseen(kept, labels, features, rewards, folds)}
    heads = {name: _moments(values[rows]) for name, values in new.items()}
    weights = {key: weight for key, weight in config.weights().items() if weight and key in own}
    parts, new = ({name: _scaled(values, heads[name]) for name, values in some.items()} for some in (own, new))
    if kept.flags is not None:
        parts[FLAGS] = new[FLAGS] = flag_cost(kept.flags, features, kept.typical_cost)
    # A flag costs units of the latent reward; the mix adds scores.
    mix = ScoreWeights(weights or {OVERALL: 1.0}, 1 / heads[OVERALL]["panel_deviation"] if kept.flags else 0.0)
    found = _moments(mix.raw(new)[rows])
    mix = ScoreWeights(mix.weights, mix.flags, found["panel_mean"], found["panel_deviation"])
    scores = mix.score(parts)
    log_length = lengths.double().log()
    apart = log_length - log_length.mean()
    slope = float((apart * scores).sum() / apart.square().sum().clamp(min=1e-9))
    panel = "panel" if len(labels.panel) > 1 else "labelled answers"
    members = [float(member.reward(features)[rows].mean()) for member in kept.members]
    return Scales(heads, members, unit, mix, slope, float(log_length.mean()), panel, scores)


def save(folder: RunFolder, backbone: Backbone, kept: RewardHeads, scales: Scales, figures: dict[str, Any]) -> None:
    """Write checkpoint/."""
    config = cast(RewardConfig, folder.config)
    settings = {"max_tokens": most_tokens(backbone, config.max_tokens), "panel": scales.panel}
    mix = {"weights": scales.mix.weights, "flags": scales.mix.flags, "mean": scales.mix.mean, "deviation": scales.mix.deviation}
    overall = settings | scales.heads[OVERALL] | {"disagreement": config.pessimism}
    overall |= {"mix": mix, "length_slope": scales.length_slope, "length_mean": scales.length_mean}
    place = folder.file("checkpoint")
    base = {"source": backbone.source, "sha256": backbone.sha256}
    if kept.tuned is None:  # what features were read in; adapters are merged into float32
        base["dtype"] = str(backbone.dtype).removeprefix("torch.")
    if Path(backbone.source).exists():
        base["relative"] = os.path.relpath(backbone.source, place)
    manifest = {
        "kind": "reward",
        "form": "head" if kept.tuned is None else "lora",
        "base": base,
        "inputs": {name: _digest(folder.file(name)) for name in INPUTS if folder.file(name).exists()},
        "figures": {name: figures[name] for name in ("labels", "accuracy", "accuracy_low", "accuracy_high", "gate_passed")},
    }

    def write(inner: Path) -> None:
        if kept.tuned is None:
            write_head(inner, kept.head, overall)
        else:
            write_adapter(inner, kept.tuned, overall)
        deviation = scales.heads[OVERALL]["panel_deviation"] / scales.unit
        for number, (member, mean) in enumerate(zip(kept.members, scales.members, strict=True)):
            scale = {"panel_mean": mean, "panel_deviation": deviation}
            write_head(inner, _bare(member), settings | scale, f"{MEMBER}{number}")
        if kept.judge is not None:
            write_head(inner, _bare(kept.judge), settings | scales.heads[JUDGE], JUDGE)
        for key, head in kept.criteria.items():
            write_head(inner, _bare(head), settings | scales.heads[key], CRITERION + key)
        if kept.flags is not None:
            scale = {"panel_mean": 0.0, "panel_deviation": 1.0, "typical_cost": kept.typical_cost}
            write_head(inner, _bare(kept.flags), settings | scale, FLAGS)
        write_card(inner, manifest, folder.path, figures)

    checkpoint.save(place, write, manifest)


def _moments(values: Tensor) -> dict[str, Any]:
    return {"panel_mean": float(values.mean()), "panel_deviation": max(float(values.std()), 1e-6)}


def _scaled(values: Tensor, moments: Mapping[str, Any]) -> Tensor:
    scores: Tensor = (values - moments["panel_mean"]) / moments["panel_deviation"]
    return scores


def _bare(head: Head) -> Head:
    """A head without its posterior, which nobody asks of it."""
    return replace(head, shrink=head.shrink[:0], precision=None)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
