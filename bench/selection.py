"""How many labels would have been enough, had other pairs been asked about: `python bench/selection.py --data DIR`.

DIR holds `pairs_tulu1.jsonl.gz` and `pairs_hh_harmless.jsonl.gz`. Labels that are there are replayed: each seed holds out three
in ten by prompt, draws the first ten from the rest, and has every rule of `trainer/reward/head/next_pairs.py` pick batches from
what is left by the product's head, fitted anew to what is picked. Beside what people said the same pairs are judged by simulated
preferences, 15 % of their verdicts turned round, the held-out ones none.

Labels to 95 % of the accuracy that all of the pool gives are read off the mean curve over seeds, and so are labels to 95 % of
the way there from a coin's half, which says more where people are hard to foretell; a rule's share of those that uniform draws
need comes with a 95 % interval, which draws seeds with replacement, the same for both. Where a curve is there at the first step
already, or never, neither number nor interval is given. `--work` keeps the answers read, so that a second call is quick. One
JSON line last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.curve import prompt_of
from bench.installation import default_model, say
from bench.preferences import PREFERENCES, Preference
from bench.reward import features_of, labels_of, pairs
from trainer.contract.config import RewardConfig
from trainer.lm.loading import load_backbone
from trainer.reward.data import Comparison, Labels, folds
from trainer.reward.head.model import Head
from trainer.reward.head.next_pairs import RULES, candidates
from trainer.reward.people.standards import fitted_head

SETS = ("pairs_tulu1", "pairs_hh_harmless")
SIMULATED = ("second_person", "hedging")
STEPS = (
    10,
    20,
    40,
    60,
    80,
    120,
    160,
    240,
    320,
    480,
    720,
)  # labels at which the reward is fitted; between two of them a batch is picked
ENOUGH: dict[str, Callable[[float], float]] = {  # of the accuracy that the whole pool gives
    "of_accuracy": lambda full: 0.95 * full,
    "of_the_way": lambda full: 0.5 + 0.95 * (full - 0.5),
}
FLIPPED = 0.15
RESAMPLES = 2000
CONFIG = RewardConfig(max_tokens=256, judge_share=0.0)


def simulated(labels: Labels, score: Preference, seed: int, flipped: float) -> list[Comparison]:
    """The same pairs, judged by a preference; those that it does not tell apart are left out."""
    draw, found = random.Random(seed), []
    for label in labels.comparisons:
        left, right = (score(prompt_of(labels.answers[side]), labels.answers[side].text) for side in (label.left, label.right))
        turned = draw.random() < flipped
        if left != right:
            found.append(label._replace(choice="left" if (left > right) != turned else "right"))
    return found


def split(said: Sequence[Comparison], true: Sequence[Comparison], seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """The pool, as it was said, and three in ten by prompt, as it is true."""
    fold = folds([label.prompt_key for label in said], 10, seed)
    return [one for one in said if fold[one.prompt_key] > 2], [one for one in true if fold[one.prompt_key] <= 2]


def accuracy(head: Head, features: dict[str, Tensor], asked: Sequence[Comparison]) -> float:
    rewards = head.reward(features)
    margins = rewards[[one.left for one in asked]] - rewards[[one.right for one in asked]]
    signs = torch.tensor([1.0 if one.choice == "left" else -1.0 for one in asked])
    return float(((margins * signs > 0) + 0.5 * (margins == 0)).double().mean())


def replay(
    features: dict[str, Tensor], pool: Sequence[Comparison], asked: Sequence[Comparison], steps: Sequence[int], seed: int
) -> tuple[dict[str, list[float]], float]:
    """Each rule's held-out accuracy at every step, and that of the whole pool."""

    def fitted(numbers: Sequence[int]) -> Head:
        return fitted_head(features, Labels(comparisons=[pool[number] for number in numbers]), CONFIG)

    left, right = (torch.tensor([getattr(one, side) for one in pool]) for side in ("left", "right"))
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
    first = fitted(order[: steps[0]])
    curves: dict[str, list[float]] = {}
    for name, rule in RULES.items():
        draw = torch.Generator().manual_seed(seed + 1)
        picked, head = order[: steps[0]], first
        curves[name] = [accuracy(head, features, asked)]
        for step in steps[1:]:
            rest = sorted(set(range(len(pool))) - set(picked))
            met = candidates(head, features, left[rest], right[rest])
            picked = picked + [rest[place] for place in rule(met, step - len(picked), draw)]
            head = fitted(picked)
            curves[name].append(accuracy(head, features, asked))
    return curves, accuracy(fitted(range(len(pool))), features, asked)


def labels_to(curve: Sequence[float], steps: Sequence[int], target: float) -> float | None:
    """Where a curve first reaches the target, between two steps by a straight line; None where it is there at the first step
    already, or at none: how many labels it takes is then not to be read off.
    """
    for place, value in enumerate(curve):
        if value >= target and place:
            part = (target - curve[place - 1]) / (value - curve[place - 1])
            return steps[place - 1] + part * (steps[place] - steps[place - 1])
        if value >= target:
            break
    return None


def summary(curves: dict[str, Tensor], full: Tensor, steps: Sequence[int]) -> dict[str, Any]:
    """Figures of one set: `curves` are rule -> (seeds, steps), `full` (seeds,)."""

    def needed(name: str, seeds: Tensor, target: Callable[[float], float]) -> float | None:
        return labels_to(curves[name][seeds].mean(0).tolist(), steps, target(float(full[seeds].mean())))

    def share(name: str, seeds: Tensor, target: Callable[[float], float]) -> float | None:
        mine, uniform = needed(name, seeds, target), needed("uniform", seeds, target)
        return None if mine is None or uniform is None else mine / uniform

    every = torch.arange(len(full))
    drawn = torch.randint(len(full), (RESAMPLES, len(full)), generator=torch.Generator().manual_seed(0))
    found: dict[str, Any] = {"full_accuracy": round(float(full.mean()), 4), "seeds": len(full), "rules": {}}
    for name, curve in curves.items():
        gains = (curve - curves["uniform"]).mean(1)[drawn].mean(1)
        found["rules"][name] = {
            "gain": round(float((curve - curves["uniform"]).mean()), 4),
            "gain_95": [round(float(gains.quantile(end)), 4) for end in (0.025, 0.975)],
            "curve": [round(value, 3) for value in curve.mean(0).tolist()],
        }
        for told, target in ENOUGH.items():
            enough, of_uniform = needed(name, every, target), share(name, every, target)
            ratios = [share(name, seeds, target) for seeds in drawn]
            known = torch.tensor([ratio for ratio in ratios if ratio is not None])
            sure = of_uniform is not None and len(known) == RESAMPLES  # an interval of some of the draws would be too narrow
            found["rules"][name][told] = {
                "labels": None if enough is None else round(enough),
                "of_uniform": None if of_uniform is None else round(of_uniform, 2),
                "of_uniform_95": [round(float(known.quantile(end)), 2) for end in (0.025, 0.975)] if sure else None,
            }
    return found


def measure(name: str, features: dict[str, Tensor], labels: Labels, taste: str, seeds: int) -> dict[str, Any]:
    parts: list[tuple[dict[str, list[float]], float]] = []
    for seed in range(seeds):
        said = true = labels.comparisons
        if taste != "people":
            said, true = (simulated(labels, PREFERENCES[taste], seed, flipped) for flipped in (FLIPPED, 0.0))
        pool, asked = split(said, true, seed)
        steps = [step for step in STEPS if step <= len(pool)]
        parts.append(replay(features, pool, asked, steps, seed))
        say(f"{name}, {taste}, seed {seed}: {len(pool)} in the pool, {len(asked)} held out, all give {parts[-1][1]:.3f}")
    curves = {rule: torch.tensor([curve[rule] for curve, _full in parts]) for rule in RULES}
    found = summary(curves, torch.tensor([full for _curve, full in parts]), steps)
    for rule, line in found["rules"].items():
        for told, target in ENOUGH.items():
            enough = line[told]
            if enough["labels"] is None:
                there = line["curve"][0] >= target(found["full_accuracy"])
                words = f"{'at most' if there else 'more than'} {steps[0] if there else steps[-1]}"
            else:
                words = f"{enough['labels']}"
            say(
                f"{name}, {taste}: {words} labels by {rule} to 95 % {told.replace('_', ' ')}; of what uniform draws need "
                f"{enough['of_uniform']}, {enough['of_uniform_95']}"
            )
    return {"pool": len(pool), "held_out": len(asked), "steps": steps} | found


def main() -> int:
    options = _options()
    missing = [name for name in options.sets if not (options.data / f"{name}.jsonl.gz").exists()]
    if missing:
        say(f"{options.data} does not hold {', '.join(name + '.jsonl.gz' for name in missing)}: nothing was measured")
        print(json.dumps({"status": "absent", "missing": missing}))
        return 2
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        base = options.model or default_model(work)
        backbone = load_backbone(str(base), CONFIG.dtype)
        for name in options.sets:
            rows = [row for row in pairs(options.data / f"{name}.jsonl.gz") if row["chosen"] != row["rejected"]]
            random.Random(1).shuffle(rows)
            labels = labels_of(rows[: options.pairs])
            features = features_of(backbone, labels, work / "cache", CONFIG)
            for taste in options.tastes:
                figures[f"{name}-{taste}"] = measure(name, features, labels, taste, options.seeds)
    print(json.dumps(figures))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the pairs_*.jsonl.gz files")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument(
        "--tastes", nargs="+", choices=["people", *PREFERENCES], default=["people", *SIMULATED], help="who judges"
    )
    parser.add_argument("--pairs", type=int, default=800, help="at most so many of each set, drawn by a fixed seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--work", type=Path, help="keep the model and the answers read here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
