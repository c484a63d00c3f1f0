"""What a minute of a person's time teaches the reward, by what is asked: `python bench/minutes.py --data DIR`.

DIR holds `items_tulu1.jsonl.gz`: prompts with an answer by each of four models. A simulated person likes answers by a preference
of `bench/preferences.py` and perceives what they like with Gumbel noise, drawn anew for each answer of each task, so that
comparisons are Bradley-Terry's, rankings Plackett-Luce's and ratings the same perception cut at its quintiles: the ways to ask
differ in nothing but what is asked. The noise is such that 15 % of comparisons name the answer that is liked less.

- comparison: two answers to a prompt, the better one;
- rating: one answer, 1 to 5, by a standard that is the same for all prompts and all day: the most that ratings can give;
- rating by prompt: the same, by what one may expect of an answer to that prompt (the mean of its four), as people rate who
  allow for a hard question;
- ranking of 4: all answers to a prompt, in order;
- comparison and edit: the better one, and that one again without the sentence that the person likes least.

Time is reading at 238 words a minute (Brysbaert 2019, doi:10.1016/j.jml.2019.104047), of the prompt once and of each answer; and
for what is done the keystroke-level model (Card, Moran and Newell 1980, doi:10.1145/358886.358895): 1.35 s to make up one's mind,
1.1 s to point, .28 s a key. Who puts k answers in order makes up their mind log2(k!) times. `--slower` multiplies the time to
decide, not that to read.

Each seed holds out three in ten by prompt, asks about the rest in turn until the minutes are used, and fits the product's head;
told is how many held-out pairs of answers it puts as the person likes them, with 95 % intervals over seeds, and bits a minute:
what the held-out accuracy tells of a pair beyond a coin, a minute. `--work` keeps the answers read. One JSON line last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import gzip
import json
import math
import random
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from scipy import stats
from torch import Tensor

from bench.annotators import gumbel, scale_of
from bench.installation import default_model, say
from bench.preferences import PREFERENCES, Preference
from bench.reward import features_of
from trainer.contract.config import RewardConfig
from trainer.lm.loading import load_backbone
from trainer.reward.data import Answer, Comparison, Labels, Rating, folds
from trainer.reward.head.model import Head
from trainer.reward.people.standards import fitted_head
from trainer.reward.rankings.ranking import Ranking

SET = "items_tulu1"
TASTES = ("second_person", "plain_words", "structured")
MINUTES = (15, 30, 60, 120)
READING = 238 / 60  # words a second
DECIDE, POINT, KEY = 1.35, 1.1, 0.28  # seconds
FLIPPED = 0.15
CONFIG = RewardConfig(max_tokens=256, judge_share=0.0)
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class Prompt:
    key: str
    words: int
    answers: list[int]  # indices into Pool.labels.answers
    edited: dict[int, int]  # answer -> the same without the sentence that is liked least, where one can be left out


@dataclass(frozen=True)
class Pool:
    """Answers to prompts, and how much one person likes each, in units of the noise with which they perceive it."""

    labels: Labels
    liked: list[float]
    prompts: list[Prompt]

    def usual(self, prompt: Prompt) -> float:
        return statistics.fmean(self.liked[answer] for answer in prompt.answers)

    def words(self, answer: int) -> int:
        return len(self.labels.answers[answer].text.split())


@dataclass
class Person:
    """One simulated annotator, the time they have used, and what they have said."""

    pool: Pool
    draw: random.Random
    cuts: tuple[list[float], list[float]]  # of perceived liking, between the ratings: of all prompts alike, and by prompt
    slower: float = 1.0
    seconds: float = 0.0
    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    tasks: int = 0

    def perceives(self, answer: int) -> float:
        return self.pool.liked[answer] + gumbel(self.draw)

    def reads(self, prompt: Prompt, answers: Sequence[int]) -> None:
        self.tasks += 1
        self.seconds += (prompt.words + sum(self.pool.words(answer) for answer in answers)) / READING

    def does(self, decisions: float, keys: int = 0, points: int = 0) -> None:
        self.seconds += self.slower * DECIDE * decisions + KEY * keys + POINT * points

    @property
    def said(self) -> Labels:
        return Labels(
            answers=self.pool.labels.answers, comparisons=self.comparisons, ratings=self.ratings, rankings=self.rankings
        )


def compare(person: Person, prompt: Prompt, answers: Sequence[int]) -> int:
    """The answer that is chosen."""
    left, right = answers
    person.reads(prompt, answers)
    person.does(1, keys=1)
    chosen = left if person.perceives(left) > person.perceives(right) else right
    choice = "left" if chosen == left else "right"
    person.comparisons.append(Comparison(left, right, choice, None, "person", prompt.key))
    return chosen


def compare_and_edit(person: Person, prompt: Prompt, answers: Sequence[int]) -> None:
    """Time to find the sentence is that of reading the answer once more; it is marked from end to end, and taken out."""
    chosen = compare(person, prompt, answers)
    edited = prompt.edited.get(chosen)
    if edited is None:
        return
    person.seconds += person.pool.words(chosen) / READING
    person.does(1, keys=1, points=2)
    person.comparisons.append(Comparison(edited, chosen, "left", None, "person", prompt.key, source="rewrite"))


def rate(person: Person, prompt: Prompt, answers: Sequence[int]) -> None:
    (answer,) = answers
    person.reads(prompt, answers)
    person.does(1, keys=1)
    person.ratings.append(Rating(answer, 1 + sum(person.perceives(answer) > cut for cut in person.cuts[0]), "person", prompt.key))


def rate_by_prompt(person: Person, prompt: Prompt, answers: Sequence[int]) -> None:
    (answer,) = answers
    person.reads(prompt, answers)
    person.does(1, keys=1)
    perceived = person.perceives(answer) - person.pool.usual(prompt)
    person.ratings.append(Rating(answer, 1 + sum(perceived > cut for cut in person.cuts[1]), "person", prompt.key))


def rank(person: Person, prompt: Prompt, answers: Sequence[int]) -> None:
    person.reads(prompt, answers)
    person.does(math.log2(math.factorial(len(answers))), keys=len(answers) + 1)
    perceived = [person.perceives(answer) for answer in answers]
    order = sorted(range(len(answers)), key=lambda place: -perceived[place])
    person.rankings.append(Ranking(tuple(answers), tuple((place,) for place in order), (), False, "person", prompt.key))


FORMS: dict[str, tuple[int, Callable[[Person, Prompt, Sequence[int]], Any]]] = {  # name -> answers of a task, how it is done
    "comparison": (2, compare),
    "rating": (1, rate),
    "rating by prompt": (1, rate_by_prompt),
    "ranking": (4, rank),
    "comparison and edit": (2, compare_and_edit),
}


def tasks(prompts: Sequence[Prompt], size: int, draw: random.Random) -> Iterator[tuple[Prompt, list[int]]]:
    """All prompts once before any comes again, and no answer twice."""
    shuffled = {prompt.key: draw.sample(prompt.answers, len(prompt.answers)) for prompt in prompts}
    for turn in range(4 // size):
        for prompt in draw.sample(prompts, len(prompts)):
            given = shuffled[prompt.key][turn * size : (turn + 1) * size]
            if len(given) == size:
                yield prompt, given


def work(pool: Pool, prompts: Sequence[Prompt], form: str, minutes: Sequence[float], seed: int, slower: float) -> list[Person]:
    """The same person after so many minutes each; who runs out of tasks has used less."""
    size, does = FORMS[form]
    found = []
    cuts = quintiles(pool, prompts, by_prompt=False), quintiles(pool, prompts, by_prompt=True)
    for most in minutes:
        person = Person(pool, random.Random(seed), cuts, slower)
        for prompt, answers in tasks(prompts, size, random.Random(seed)):
            if person.seconds >= most * 60:
                break
            does(person, prompt, answers)
        found.append(person)
    return found


def quintiles(pool: Pool, prompts: Sequence[Prompt], *, by_prompt: bool) -> list[float]:
    draw = random.Random(0)
    perceived = [
        pool.liked[answer] - (pool.usual(prompt) if by_prompt else 0.0) + gumbel(draw)
        for prompt in prompts
        for answer in prompt.answers
        for _ in range(20)
    ]
    return statistics.quantiles(perceived, n=5)


def without_the_worst(text: str, score: Callable[[str], float]) -> str | None:
    """The text without one sentence, whichever it is better without; None where that is none."""
    parts = [part for part in SENTENCE.split(text) if part.strip()]
    shorter = [" ".join(parts[:place] + parts[place + 1 :]) for place in range(len(parts))] if len(parts) > 1 else []
    best = max(shorter, key=score, default=text)
    return best if score(best) > score(text) else None


def pool_of(items: dict[str, list[str]], taste: Preference) -> Pool:
    answers: list[Answer] = []
    liked: list[float] = []
    prompts: list[Prompt] = []

    def added(prompt: str, text: str) -> int:
        answers.append(Answer((("user", prompt),), text, None))
        liked.append(taste(prompt, text))
        return len(answers) - 1

    for prompt, texts in items.items():
        own = [added(prompt, text) for text in texts]
        better = {answer: without_the_worst(answers[answer].text, partial(taste, prompt)) for answer in own}
        edited = {answer: added(prompt, text) for answer, text in better.items() if text is not None}
        prompts.append(Prompt(answers[own[0]].prompt_key, len(prompt.split()), own, edited))
    differences = [liked[one] - liked[other] for prompt in prompts for one, other in combinations(prompt.answers, 2)]
    scale = scale_of([one for one in differences if one], FLIPPED)
    return Pool(Labels(answers=answers), [scale * one for one in liked], prompts)


def accuracy(head: Head, features: dict[str, Tensor], pool: Pool, prompts: Sequence[Prompt]) -> float:
    rewards = head.reward(features).tolist()
    hits = [
        0.5 if rewards[one] == rewards[other] else float((rewards[one] > rewards[other]) == (pool.liked[one] > pool.liked[other]))
        for prompt in prompts
        for one, other in combinations(prompt.answers, 2)
        if pool.liked[one] != pool.liked[other]
    ]
    return statistics.fmean(hits)


def bits(share: float) -> float:
    """What a prediction that is right so often tells of a pair, beyond a coin (the capacity of a binary symmetric channel)."""
    if not 0 < share < 1:
        return 1.0
    return 1 + share * math.log2(share) + (1 - share) * math.log2(1 - share)


def measure(pool: Pool, features: dict[str, Tensor], minutes: Sequence[float], seeds: int, slower: float) -> dict[str, Any]:
    hits: dict[str, list[list[float]]] = {form: [] for form in FORMS}
    used: dict[str, list[tuple[float, int]]] = {}
    for seed in range(seeds):
        fold = folds([prompt.key for prompt in pool.prompts], 10, seed)
        asked = [prompt for prompt in pool.prompts if fold[prompt.key] > 2]
        held_out = [prompt for prompt in pool.prompts if fold[prompt.key] <= 2]
        for form in FORMS:
            people = work(pool, asked, form, minutes, seed, slower)
            heads = [fitted_head(features, person.said, CONFIG) for person in people]
            hits[form].append([accuracy(head, features, pool, held_out) for head in heads])
            used[form] = [(round(person.seconds / 60, 1), person.tasks) for person in people]
    found: dict[str, Any] = {}
    for form, rows in hits.items():
        columns = list(zip(*rows, strict=True))
        gains = [
            [mine - plain for mine, plain in zip(row, beside, strict=True)]
            for row, beside in zip(rows, hits["comparison"], strict=True)
        ]
        found[form] = [
            {
                "minutes": most,
                "used": used[form][place],
                "accuracy": round(statistics.fmean(column), 4),
                "bits_an_hour": round(60 * bits(statistics.fmean(column)) / used[form][place][0], 3),
                "gain": round(statistics.fmean(gain[place] for gain in gains), 4),
                "gain_95": interval([gain[place] for gain in gains]),
            }
            for place, (most, column) in enumerate(zip(minutes, columns, strict=True))
        ]
    return found


def interval(values: Sequence[float]) -> list[float] | None:
    """95 % of the mean by Student's t; None of one value."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return [round(statistics.fmean(values) + sign * half, 4) for sign in (-1, 1)]


def read_items(path: Path, most: int) -> dict[str, list[str]]:
    """Prompt -> its four answers, of prompts of which all four differ, drawn by a fixed seed."""
    answers: dict[str, dict[str, str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            answers.setdefault(row["prompt"], {}).update({row["model_a"]: row["response_a"], row["model_b"]: row["response_b"]})
    whole = {prompt: sorted(set(texts.values())) for prompt, texts in answers.items()}
    usable = sorted(prompt for prompt, texts in whole.items() if len(texts) == 4 and all(text.strip() for text in texts))
    random.Random(1).shuffle(usable)
    return {prompt: whole[prompt] for prompt in usable[:most]}


def main() -> int:
    options = _options()
    file = options.data / f"{SET}.jsonl.gz"
    if not file.exists():
        say(f"{file} is not there: nothing was measured")
        print(json.dumps({"status": "absent", "missing": [file.name]}))
        return 2
    items = read_items(file, options.prompts)
    figures: dict[str, Any] = {"prompts": len(items), "slower": options.slower, "seeds": options.seeds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        backbone = load_backbone(str(options.model or default_model(folder)), CONFIG.dtype)
        for taste in options.tastes:
            pool = pool_of(items, PREFERENCES[taste])
            features = features_of(backbone, pool.labels, folder / "cache", CONFIG)
            figures[taste] = measure(pool, features, MINUTES, options.seeds, options.slower)
            for form, rows in figures[taste].items():
                told = ", ".join(f"{row['accuracy']:.3f} after {row['minutes']} min ({row['used'][1]})" for row in rows)
                say(f"{taste}, {form}: {told}")
    print(json.dumps(figures))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help=f"the folder with {SET}.jsonl.gz")
    parser.add_argument("--tastes", nargs="+", choices=list(PREFERENCES), default=list(TASTES), help="what the person likes")
    parser.add_argument("--prompts", type=int, default=300, help="at most so many, drawn by a fixed seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slower", type=float, default=1.0, help="by which the time to decide is multiplied")
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--work", type=Path, help="keep the model and the answers read here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
