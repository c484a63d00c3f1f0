"""What is made of the numbers of two sides, TRL's and ours: means, ratios, and the figures of a reward over all its folds.

Pure: runs nothing and reads no file.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch

from bench.reward import held_out_figures
from trainer.reward import validation

Figures = dict[str, Any]
STAGES = ("generate_s", "score_s", "train_s")


def per_update(figures: Figures) -> Figures:
    """Means over TRL's updates but the first, which warms up, under the names of bench/ppo.py."""
    rows = figures["updates"][1:]
    means = {name: statistics.fmean(row[name] for row in rows) for name in STAGES}
    return {"update_s": sum(means.values()), **means, "peak_rss_mib": figures["peak_rss_mib"]}


def ratios(theirs: Figures, ours: Figures) -> Figures:
    """TRL's figure over ours, for every name that both have: 2 says that ours takes half."""
    return {name: round(theirs[name] / ours[name], 2) for name in theirs if ours.get(name)}


def pooled(found: dict[str, list[Figures]], prompts: list[str], speeds: bool = True) -> Figures:
    """Figures of each side over all its folds, as said and with ours also untempered; and what ours gains on TRL's. Without
    `speeds` for work that may have been found done.
    """
    result: Figures = {}
    tempered: dict[str, torch.Tensor] = {}
    for side, parts in found.items():
        raw = torch.tensor([margin for part in parts for margin in part["margins"]], dtype=torch.float64)
        heat = torch.tensor([part["temperature"] for part in parts for _ in part["margins"]], dtype=torch.float64)
        tempered[side] = raw / heat
        result[side] = {
            **held_out_figures(tempered[side], prompts),
            **{f"{name}_untempered": held_out_figures(raw, prompts)[name] for name in ("ece", "nll")},
        }
        if speeds:
            result[side]["pairs_per_s"] = round(statistics.fmean(part["pairs_per_s"] for part in parts), 2)
            result[side]["peak_rss_mib"] = max(part["peak_rss_mib"] for part in parts)
    for side in found.keys() - {"trl"}:
        result[side] |= gains(tempered[side], tempered["trl"], prompts)
        if speeds:
            result[side]["times_the_pairs_per_s"] = round(result[side]["pairs_per_s"] / result["trl"]["pairs_per_s"], 2)
    return result


def gains(ours: torch.Tensor, theirs: torch.Tensor, prompts: list[str]) -> Figures:
    """What our margins (N,) are better by, above 0 where they are: accuracy, and nats a pair; 95 % intervals by prompt."""
    better = {
        "gain": validation.correct(ours) - validation.correct(theirs),
        "nll_gain": torch.nn.functional.softplus(-theirs) - torch.nn.functional.softplus(-ours),
    }
    found: Figures = {}
    for name, each in better.items():
        low, high = validation.bootstrap(each, prompts)
        found |= {name: validation.mean(each), f"{name}_low": low, f"{name}_high": high}
    return found
