"""A model's answers to held-out prompts beside the base's, and beside the best of four of the base's under the same reward.

Eight answers to each prompt from either. The best of four is taken from either half of the base's eight and meets the other half,
so that none meets itself. By the people's taste without noise every answer meets every other to the same prompt; ties count half.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.preferences import Preference
from bench.reading import Reader
from bench.tastes import Sensible

RESAMPLES = 2000
READ = 50  # answers for a person to read


@dataclass(frozen=True)
class Answer:
    """What a model wrote to a prompt."""

    prompt: str
    text: str
    tokens: int
    cut: bool  # by the limit on tokens
    reward: float = 0.0  # what the round's reward model gives it


Answers = Mapping[int, Sequence[Answer]]  # of each prompt


def halves(answers: Sequence[Answer]) -> Iterator[tuple[Sequence[Answer], Sequence[Answer]]]:
    """Either half, and the other."""
    middle = len(answers) // 2
    yield answers[:middle], answers[middle:]
    yield answers[middle:], answers[:middle]


def best_of(base: Answers) -> dict[int, list[Answer]]:
    """The answer of each half that the reward likes best."""
    return {number: [max(half, key=lambda one: one.reward) for half, _ in halves(own)] for number, own in base.items()}


def win_rates(new: Answers, base: Answers, score: Preference) -> list[float]:
    """For each prompt, how often a new answer is liked better than one of the base's."""
    return [_share(own, base[number], score) for number, own in new.items()]


def win_rates_of_best(base: Answers, score: Preference) -> list[float]:
    """Likewise the best of each half of the base's, beside the other half."""
    return [
        statistics.fmean(_share([max(half, key=lambda one: one.reward)], other, score) for half, other in halves(own))
        for own in base.values()
    ]


def _share(ours: Sequence[Answer], theirs: Sequence[Answer], score: Preference) -> float:
    mine, others = ([score(one.prompt, one.text) for one in some] for some in (ours, theirs))
    return statistics.fmean((one > other) + 0.5 * (one == other) for one in mine for other in others)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % by resampling prompts: answers to one prompt are alike."""
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def compared(new: Answers, base: Answers, taste: Sensible, reader: Reader) -> dict[str, Any]:
    """Win rates with intervals, and how the answers of each read."""
    best = best_of(base)
    pairs = [(one.prompt, one.text) for answers in (new, base) for own in answers.values() for one in own]
    taste.prepare(pairs)
    found: dict[str, Any] = {"held_out_prompts": len(new)}
    for name, wins in {"win_rate": win_rates(new, base, taste), "best_of_4": win_rates_of_best(base, taste)}.items():
        found |= {name: _rounded(statistics.fmean(wins)), f"{name}_interval": [_rounded(end) for end in interval(wins)]}
    for name, answers in {"ours": new, "base": base, "best": best}.items():
        found[name] = readable([one for own in answers.values() for one in own], taste, reader)
    found["length_ratio"] = _rounded(found["ours"]["tokens"] / found["base"]["tokens"])
    return found


def readable(answers: Sequence[Answer], taste: Sensible, reader: Reader) -> dict[str, float]:
    """Means of answers: fluency and relevance in nats per token, repetition, nonsense and cut ones as shares, and tokens."""
    pairs = [(one.prompt, one.text) for one in answers]
    for figure in (reader.fluency, reader.relevance):
        figure.prepare(pairs)
    means = {
        "fluency": [reader.fluency(*pair) for pair in pairs],
        "relevance": [reader.relevance(*pair) for pair in pairs],
        "repetition": [reader.repetition(*pair) for pair in pairs],
        "nonsense": [float(taste.nonsense(*pair)) for pair in pairs],
        "tokens": [float(one.tokens) for one in answers],
        "cut": [float(one.cut) for one in answers],
    }
    return {name: _rounded(statistics.fmean(values)) for name, values in means.items()}


def reached(line: Mapping[str, Any]) -> dict[str, bool]:
    """The goals of a taste: 85 % of wins at 10 nats at most, read as before within 5 %, and better than the best of four."""
    ours, base = line["ours"], line["base"]
    return {
        "wins": line["win_rate"] >= 0.85,
        "kl": line["kl_per_sequence"] <= 10,
        "fluency": ours["fluency"] >= base["fluency"] - 0.05 * abs(base["fluency"]),
        "relevance": ours["relevance"] >= base["relevance"] - 0.05 * abs(base["relevance"]),
        "above_best_of_4": line["win_rate"] > line["best_of_4"],
    }


def write(path: Path, title: str, new: Answers, base: Answers, taste: Preference) -> None:
    """Append to a file answers of the model beside one of the base and the best of four, with the taste's score of each."""
    best = best_of(base)
    rounds = max(map(len, new.values()))
    rows = [(number, turn) for turn in range(rounds) for number in new if turn < len(new[number])][:READ]
    with path.open("a", encoding="utf-8") as file:
        file.write(f"==== {title}\n")
        for number, turn in rows:
            ours, theirs, chosen = new[number][turn], base[number][turn], best[number][turn % 2]
            file.write(f"\n== {ours.prompt}\n")
            for name, one in {"base": theirs, "best of 4": chosen, "ours": ours}.items():
                file.write(f"-- {name} ({taste(one.prompt, one.text):.3g}): {one.text}\n")


def _rounded(value: float) -> float:
    return round(value, 3)
