"""How often the gate of a reward lets noise pass, and how often what is true: `python bench/gates.py [--worlds 2000]`.

Each world is a project that is made up: answers of random features, and people. Its labels go through the folds, the figures and
the gate of a reward run. By default the head in each fold is ridge regression, which is fast; `--head` also fits the one of a
reward run, in so many worlds (`--head 200`). Shares have Wilson's 95 % intervals. `unadjusted` is the same test without what 0027
allows for cross-validation. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.installation import say
from trainer.contract.config import RewardConfig
from trainer.contract.intervals import wilson
from trainer.reward.data import Answer, Comparison, Labels, Rating
from trainer.reward.gate import gate, level, p_value
from trainer.reward.head.model import Group, Head
from trainer.reward.held_out import cross_validate, join, split_prompts
from trainer.reward.validation import HeldOut, correct, headline_figures, interval, rating_hits, signs

WIDTH = 32  # features of an answer; half of them are its prompt's
PEOPLE = ("anna", "ben", "cleo", "dora")
NOISE = ("comparisons", "ratings", "prompt-only ratings", "alike in fours")
CONFIG = RewardConfig(min_labels=1)
Fit = Callable[[Labels, dict[str, Tensor]], Head]


@dataclass(frozen=True)
class World:
    """`kind` is one of NOISE, or `foretold`: comparisons that a fixed reward puts the right way round with the given accuracy."""

    kind: str
    seed: int
    labels: int = 100
    accuracy: float = 0.5

    def made(self) -> tuple[Labels, dict[str, Tensor]]:
        """Labels in the order in which they came, and the features of their answers."""
        draw = torch.Generator().manual_seed(self.seed)
        rated = "ratings" in self.kind
        alike = 4 if self.kind == "alike in fours" else 1
        questions = self.labels // alike
        answers = questions if rated else 2 * questions
        prompts = torch.arange(answers) // 4  # four rated answers, or two pairs, to each
        topic = torch.randn(int(prompts.max()) + 1, WIDTH // 2, generator=draw)
        features = torch.cat([topic[prompts], torch.randn(answers, WIDTH // 2, generator=draw)], 1)
        keys = [f"{number:06}" for number in prompts.tolist()]
        found = Labels(answers=[Answer((("user", key),), str(number), None) for number, key in enumerate(keys)])
        if rated:
            judge = torch.randint(2, (answers,), generator=draw) + 2 * (prompts % 2)  # two people to a prompt
            wanted = 3 + 0.8 * torch.randn(answers, generator=draw) + torch.randn(len(PEOPLE), generator=draw)[judge]
            if self.kind == "prompt-only ratings":
                wanted = wanted + topic[prompts][:, 0]
            stars = wanted.round().clamp(1, 5).long().tolist()
            found.ratings = [Rating(row, stars[row], PEOPLE[int(judge[row])], keys[row]) for row in range(answers)]
            return found, {"told": features}
        coin = torch.rand(questions, generator=draw)
        if self.kind == "foretold":
            sign = torch.where(torch.rand(questions, generator=draw) < 0.5, 1.0, -1.0)
            features[0::2, 0], features[1::2, 0] = sign, -sign  # what the fixed reward reads
            choices = ["left" if (one > 0) == hit else "right" for one, hit in zip(sign, coin < self.accuracy, strict=True)]
        else:
            choices = ["left" if one < 0.5 else "right" for one in coin.tolist()]
        found.comparisons = [
            Comparison(2 * row, 2 * row + 1, choices[row], None, PEOPLE[(row + time_) % 4], keys[2 * row])
            for row in range(questions)
            for time_ in range(alike)
        ]
        return found, {"told": features}


def ridge(labels: Labels, features: dict[str, Tensor]) -> Head:
    """Least squares of verdicts as 1 and -1, or of ratings less their rater's mean, with a penalty on the weights."""
    values = features["told"].double()
    if labels.ratings:
        rows = torch.tensor([label.answer for label in labels.ratings])
        given = torch.tensor([float(label.overall) for label in labels.ratings], dtype=torch.float64)
        names = [label.annotator for label in labels.ratings]
        for name in set(names):
            mine = torch.tensor([name == other for other in names])
            given[mine] -= given[mine].mean()
        design = values[rows] - values[rows].mean(0)
    else:
        left, right = (torch.tensor([getattr(label, side) for label in labels.comparisons]) for side in ("left", "right"))
        given = torch.tensor([1.0 if label.choice == "left" else -1.0 for label in labels.comparisons], dtype=torch.float64)
        design = values[left] - values[right]
    return _linear(torch.linalg.solve(design.T @ design + WIDTH * torch.eye(WIDTH, dtype=torch.float64), design.T @ given))


def foreknown(_labels: Labels, _features: dict[str, Tensor]) -> Head:
    """The reward that `foretold` labels are foretold by; it learns nothing."""
    return _linear(torch.eye(WIDTH, dtype=torch.float64)[0])


def of_a_run(labels: Labels, features: dict[str, Tensor]) -> Head:
    from trainer.reward.people.standards import fitted_head

    return fitted_head(features, labels, CONFIG)


def _linear(weights: Tensor) -> Head:
    nothing, one = torch.zeros(WIDTH), torch.ones(1)
    return Head({"told": Group(nothing, one, 1.0, weights)}, torch.zeros(0, WIDTH), 0.0, None, [], 1.0)


def passes(world: World, looks: int = 1, fit: Fit | None = None) -> list[bool]:
    """Whether the gate opens at each of so many looks, between which labels come in equal parts, after as many that did not pass
    since it last did."""
    learn = fit or (foreknown if world.kind == "foretold" else ridge)
    labels, features = world.made()
    earlier, found = 0, []
    for look in range(1, looks + 1):
        some = Labels(
            answers=labels.answers,
            comparisons=labels.comparisons[: len(labels.comparisons) * look // looks],
            ratings=labels.ratings[: len(labels.ratings) * look // looks],
        )
        passed, _reason = gate(headline_figures(predicted(some, features, learn)), earlier)
        found.append(passed)
        earlier = 0 if passed else earlier + 1
    return found


def predicted(labels: Labels, features: dict[str, Tensor], learn: Fit) -> HeldOut:
    """Every label by a head that did not see its prompt."""
    split = split_prompts(labels, CONFIG)
    parts, _heads = cross_validate(labels, split, lambda rest: learn(rest, features), features)
    return join(parts)


def share(name: str, found: Iterable[bool]) -> dict[str, Any]:
    counted = list(found)
    low, high = wilson(sum(counted) / len(counted), len(counted))
    say(f"{name}: {sum(counted)} of {len(counted)}, {sum(counted) / len(counted):.4f} ({low:.4f}-{high:.4f})")
    return {"passed": sum(counted), "of": len(counted), "low": round(low, 4), "high": round(high, 4)}


def unadjusted(world: World) -> bool:
    """Whether the first look would pass, were hits of different folds independent of each other."""
    labels, features = world.made()
    held = predicted(labels, features, ridge)
    hits, keys = rating_hits(held.ratings, held.reward)
    if not held.ratings:
        hits, keys = correct(held.delta * signs(held.comparisons)), [label.prompt_key for label in held.comparisons]
    return (p_value(hits, keys, inflation=1.0) or 0.0) <= level(0)


def covered(seed: int, prompts: int, alike: int, accuracy: float) -> bool:
    """Whether the interval of an accuracy has it, with one judgement on each prompt, said so many times."""
    hits = (torch.rand(prompts, generator=torch.Generator().manual_seed(seed)) < accuracy).float().repeat(alike)
    low, high = interval(hits, [str(number) for number in range(prompts)] * alike)
    return low is not None and high is not None and low <= accuracy <= high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000, help="of each kind")
    parser.add_argument("--labels", type=int, default=100, help="of a world with one look")
    parser.add_argument("--head", type=int, default=0, help="worlds of each kind in which the head of a run is fitted")
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    found: dict[str, Any] = {"worlds": given.worlds, "labels": given.labels}
    for kind in NOISE:
        worlds = [World(kind, seed, given.labels) for seed in range(given.worlds)]
        found[kind] = share(kind, (passes(world)[0] for world in worlds))
        found[f"{kind}, unadjusted"] = share(f"{kind}, unadjusted", map(unadjusted, worlds))
        if given.head:
            of_head = (passes(world, fit=of_a_run)[0] for world in worlds[: given.head])
            found[f"{kind}, head of a run"] = share(f"{kind}, head of a run", of_head)
    for kind in NOISE[:2]:
        for looks, labels in ((6, 180), (20, 400)):
            name = f"{kind}, {looks} looks"
            worlds = [World(kind, seed, labels) for seed in range(given.worlds // 4)]
            found[name] = share(name, (any(passes(world, looks)) for world in worlds))
    for accuracy in (0.6, 0.7, 0.75):
        for labels in (100, 200, 400):
            name = f"foretold {accuracy}, {labels} labels"
            found[name] = share(name, (passes(World("foretold", seed, labels, accuracy))[0] for seed in range(given.worlds // 2)))
    for prompts, alike in ((20, 1), (5, 4), (25, 4)):
        for accuracy in (0.6, 0.75, 0.9):
            name = f"interval has {accuracy}, {prompts} prompts, each said {alike} times"
            found[name] = share(name, (covered(seed, prompts, alike, accuracy) for seed in range(given.worlds // 2)))
    found["seconds"] = round(time.monotonic() - started)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
