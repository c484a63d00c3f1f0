"""Noise and taste among people: what telling them apart is worth to a reward: `python bench/standards.py [--cache FOLDER]`.

Twenty planted people judge pairs of answers. Of them 30 % press at random or mean the opposite; or none does; or eight like
something else than the other twelve. Rewards are fitted with and without reliability, with and without tastes, and alone on each
group's labels; accuracy is of pairs of other answers, as people of that taste would judge them without noise. `--cache`: pooled
states that a reward run left (`cache/features-...`), so that the answers are real ones of the base; else features are drawn.
Means over seeds with 95 % intervals (Student's t); the last line on stdout is one JSON object, and where a limit does not hold
the exit status is 1.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.installation import say
from trainer.reward.data import Comparison
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.model import Head
from trainer.reward.head.tastes import sides

PEOPLE: Final = 20
NOISY: Final = ("opposite", "opposite", "opposite", "random", "random", "random")  # 30 % of the people, and of their labels
MINORITY: Final = 8
WIDTH: Final = 576  # of the base's layers
READ: Final = (4,)  # of those in the cache
TASTES_IN: Final = 4
DIRECTIONS: Final = 40  # principal ones of the layer, in which tastes lie
STRENGTH: Final = 3.0  # deviation of a difference of rewards: people are right on some 85 %
HELD: Final = 0.3  # of the answers
STUDENT: Final = {4: 2.776, 2: 4.303, 1: 12.706, 9: 2.262}  # 97.5 %, by degrees of freedom
GAIN, LOSS, ALONE = 0.05, 0.005, 0.02  # what is asked

Who = Callable[[int], str]


def states(cache: Path | None, seed: int) -> dict[str, Tensor]:
    """Group -> (answers, D)."""
    if cache is None:
        draw = torch.Generator().manual_seed(seed)
        strength = torch.arange(1, WIDTH + 1).float() ** -0.5
        return {f"layer_{layer}": torch.randn(800, WIDTH, generator=draw) * strength for layer in READ}
    rows = [row for path in sorted(cache.glob("*.safetensors")) for row in load_file(path).values()]
    layers = torch.split(torch.stack(rows), WIDTH, 1)
    return {f"layer_{layer}": layers[layer] for layer in READ}


class World:
    """Answers, of which some are held out, and two tastes about them."""

    def __init__(self, cache: Path | None, labels: int, seed: int) -> None:
        self.features, self.labels = states(cache, seed), labels
        self.draw = torch.Generator().manual_seed(seed)
        layer = self.features[f"layer_{TASTES_IN}"].double()
        layer = (layer - layer.mean(0)) / layer.std(0).clamp(min=1e-6)
        scores = torch.linalg.svd(layer - layer.mean(0), full_matrices=False)[0][:, :DIRECTIONS]
        wanted = scores @ torch.linalg.qr(torch.randn(DIRECTIONS, 2, generator=self.draw, dtype=torch.float64))[0]
        self.rewards = STRENGTH / math.sqrt(2) * wanted / wanted.std(0)
        order = torch.randperm(len(layer), generator=self.draw)
        held = int(HELD * len(order))
        self.held, self.own = order[:held], order[held:]

    def judged(self, noise: Mapping[int, str], taste: Callable[[int], int]) -> list[Comparison]:
        """Everybody as many labels, on pairs of answers that are not held out."""
        found = []
        for number in range(self.labels):
            person = number % PEOPLE
            left, right = self.own[torch.randperm(len(self.own), generator=self.draw)[:2]].tolist()
            delta = float(self.rewards[left, taste(person)] - self.rewards[right, taste(person)])
            chance, kind = 1 / (1 + math.exp(-delta)), noise.get(person, "")
            chance = {"": chance, "opposite": 1 - chance, "random": 0.5}[kind]
            said = "left" if float(torch.rand(1, generator=self.draw)) < chance else "right"
            found.append(Comparison(left, right, said, None, f"person {person}", str(number % 60)))
        return found

    def accuracy(self, head: Head, taste: int = 0) -> float:
        """Of all pairs of held-out answers."""
        found, true = head.reward(self.features)[self.held], self.rewards[self.held, taste]
        apart, wanted = found[:, None] - found, true[:, None] - true
        upper = torch.triu(torch.ones_like(apart, dtype=torch.bool), 1)
        return float(((apart > 0) == (wanted > 0))[upper].double().mean())


def one_taste(_person: int) -> int:
    return 0


def measured(cache: Path | None, labels: int, seed: int) -> dict[str, float]:
    """Accuracies of one seed."""
    world, found = World(cache, labels, seed), dict[str, float]()
    for crowd, noise in (("noisy", dict(enumerate(NOISY))), ("clean", {})):
        judged = world.judged(noise, one_taste)
        for way in (False, True):
            head = fit(world.features, judged, [], HeadSettings(reliability=way))
            found[f"{crowd}_{'with' if way else 'without'}"] = world.accuracy(head)
            if crowd == "noisy" and way:
                found["noisy_people_found"] = sum(head.reliability[f"person {one}"] < 0.75 for one in noise) / len(noise)
                others = [value for name, value in head.reliability.items() if int(name.split()[1]) not in noise]
                found["careful_people_counting_less"] = sum(one < 0.75 for one in others) / len(others)

    def taste(person: int) -> int:
        return int(person < MINORITY)

    judged = world.judged({}, taste)
    head = fit(world.features, judged, [], HeadSettings(taste=True))
    groups = sides(head.taste, dict.fromkeys(head.taste, labels // PEOPLE))
    found["in_their_group"] = sum(taste(int(name.split()[1])) == at for at, group in enumerate(groups) for name in group) / PEOPLE
    found["one_for_all_larger"], found["one_for_all_smaller"] = (
        world.accuracy(fit(world.features, judged, [], HeadSettings()), at) for at in (0, 1)
    )
    for at, (name, group) in enumerate(zip(("larger", "smaller"), groups, strict=True)):
        own = [label for label in judged if taste(int(label.annotator.split()[1])) == at]
        found[f"alone_{name}"] = world.accuracy(fit(world.features, own, [], HeadSettings()), at)
        found[f"following_{name}"] = world.accuracy(head.following(group), at)
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    middle = statistics.fmean(values)
    half = STUDENT.get(len(values) - 1, 2.0) * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": round(middle, 4), "low": round(middle - half, 4), "high": round(middle + half, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="pooled states of a base's answers; none: drawn")
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    rows = []
    for seed in range(given.seeds):
        rows.append(measured(given.cache, given.labels, seed))
        say(f"seed {seed}: {json.dumps({name: round(value, 3) for name, value in rows[-1].items()})}")
    found: dict[str, Any] = {name: interval([row[name] for row in rows]) for name in rows[0]}
    apart = {
        "gain": interval([row["noisy_with"] - row["noisy_without"] for row in rows]),
        "loss_when_clean": interval([row["clean_without"] - row["clean_with"] for row in rows]),
        **{
            f"short_of_alone_{name}": interval([row[f"alone_{name}"] - row[f"following_{name}"] for row in rows])
            for name in ("larger", "smaller")
        },
    }
    problems = [
        f"{name} is {apart[name]['mean']}"
        for name, most in (("loss_when_clean", LOSS), ("short_of_alone_larger", ALONE), ("short_of_alone_smaller", ALONE))
        if apart[name]["mean"] > most
    ]
    problems += ["gain is less"] if apart["gain"]["mean"] < GAIN else []
    print(
        json.dumps(
            {
                "bench": "standards",
                "labels": given.labels,
                "seeds": given.seeds,
                "features": "drawn" if given.cache is None else "of the base's answers",
                **apart,
                **found,
                "problems": problems,
            }
        )
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
