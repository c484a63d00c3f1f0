"""How often blind evaluation is wrong, and how many labels it takes: `python bench/evaluation.py [--plays 10000]`.

Each play is an evaluation with made-up people, looked at after every prompt and decided by the bets of `app/evaluation`; a
budget of 400 prompts with one verdict each where nothing else is said. `wrong` is where nobody may be promoted, or one that is
not better was. Beside it stand the paper's own sizes of bets (`ville`) and an interval for one look that is looked at every
time. Whatever breaks a promise is named, and the exit status is 1. The last line on stdout is one JSON object.
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
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import ville
from numpy.typing import NDArray

from app.evaluation.decision import DEFAULT_ERROR, DEFAULT_FLAG_MARGIN, DEFAULT_UNITS
from app.evaluation.planning import NEVER, RATES, Looks, flagged, play, verdicts
from bench.installation import say
from trainer.contract.intervals import wilson

Floats = NDArray[np.float64]

SURE: Final = 0.25  # standard deviation of win rates over prompts where predictions know them: right in three of four
TURN: Final = 60  # prompts after which predictions that turn say the opposite
HABIT: Final = 0.25  # added to the chance of the side, or the longer answer, that a person likes
PEOPLE: Final = {"all alike": (1, 1, 1, 1, 1, 1), "of two minds": (1, -1, 1, -1, 0, 0)}


@dataclass(frozen=True)
class Case:
    """What was found of one kind of candidate. `limit`: the share that may be promoted; `floor`: that must be."""

    name: str
    promoted: int
    plays: int
    units: float  # until it was decided, on average, at most the budget
    limit: float | None = None
    floor: float | None = None
    more: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.promoted / self.plays


def broken(cases: list[Case]) -> list[str]:
    """The promises that were not kept."""
    return [
        f"{case.name}: {case.share:.4f} promoted"
        for case in cases
        if (case.limit is not None and case.share > case.limit) or (case.floor is not None and case.share < case.floor)
    ]


def case(name: str, looks: Looks, planned: int = DEFAULT_UNITS, **told: Any) -> Case:
    """`told`: the fields of a `Case` that are no counts."""
    promoted = looks.promoted < NEVER
    units = float(np.minimum(looks.decided, planned).mean())
    return Case(name, int(promoted.sum()), len(promoted), units, **told)


class Bench:
    """All cases, each with draws of its own, so that one is the same whatever else is played."""

    def __init__(self, plays: int, seed: int = 0) -> None:
        self.plays = plays
        self.seed = seed

    def draw(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def shape(self, planned: int = DEFAULT_UNITS) -> tuple[int, int]:
        return planned, self.plays

    def rates(self) -> Iterator[Case]:
        for number, ties in enumerate((0.0, 0.2, 0.5)):
            for rate in (0.5, *RATES):
                values = verdicts(self.draw(1, number), rate, ties, 1, self.shape())
                limit, floor = (DEFAULT_ERROR, None) if rate == 0.5 else (None, 0.9 if rate >= 0.6 else None)
                yield case(f"true {rate}, ties {ties}", play(values), limit=limit, floor=floor)
        values = verdicts(self.draw(1, 9), 0.4, 0.0, 1, self.shape())
        yield case("true 0.4, ties 0.0", play(values), limit=DEFAULT_ERROR)

    def few_prompts(self) -> Iterator[Case]:
        for prompts, each in ((37, 11), (133, 3), (400, 1)):
            for rate in (0.5, 0.6, 0.7):
                values = verdicts(self.draw(2, prompts), rate, 0.0, each, self.shape(prompts))
                limit = DEFAULT_ERROR if rate == 0.5 else None
                yield case(f"true {rate}, {prompts} prompts with {each} verdicts each", play(values), prompts, limit=limit)

    def people(self) -> Iterator[Case]:
        for rate in (0.5, 0.6):
            limit = DEFAULT_ERROR if rate == 0.5 else None
            for name, minds in PEOPLE.items():
                for streak in (1, 20):
                    sides = self.by_people(rate, minds, streak, longer=0.5)
                    yield case(f"true {rate}, side habits, people {name}, {streak} in a row", play(sides), limit=limit)
            for streak in (1, 5, 20):
                length = self.by_people(rate, PEOPLE["of two minds"], streak, longer=0.8)
                name = f"true {rate}, length habits, people of two minds, {streak} in a row, longer in .8"
                yield case(name, play(length), limit=limit if streak == 1 else None)

    def by_people(self, rate: float, minds: tuple[int, ...], streak: int, longer: float) -> Floats:
        """Each prompt judged by one of six, who stay for so many in a row. `longer`: how often what a person likes is the
        candidate's: in half of the prompts, as sides are, or more often, as length may be."""
        draw = self.draw(3, streak, int(10 * longer))
        units, plays = self.shape()
        who = draw.integers(len(minds), size=(-(-units // streak), plays)).repeat(streak, axis=0)[:units]
        liked = np.where(draw.random(self.shape()) < longer, 1, -1)
        chance = np.clip(rate + HABIT * np.array(minds)[who] * liked, 0.0, 1.0)
        values: Floats = (draw.random(self.shape()) < chance).astype(float)
        return values

    def predictions(self) -> Iterator[Case]:
        for kind, others in (("good", 1), ("good", 3), ("useless", 3), ("against", 3), ("turning", 3), ("constant", 3)):
            for rate in (0.5, *RATES):
                values, differences = self.foretold(rate, kind, others)
                plain, powered = play(values), play(values, differences=differences)
                saved = np.minimum(plain.decided, DEFAULT_UNITS) - np.minimum(powered.decided, DEFAULT_UNITS)
                more = {"saved": float(saved.mean()), "plain promoted": float((plain.promoted < NEVER).mean())}
                limit = DEFAULT_ERROR if rate == 0.5 else None
                yield case(f"true {rate}, predictions {kind}, {others} unasked to a prompt", powered, limit=limit, more=more)

    def foretold(self, rate: float, kind: str, others: int) -> tuple[Floats, Floats]:
        draw = self.draw(4, others, int(100 * rate))
        sure = rate * (1.0 - rate) / SURE**2 - 1.0
        asked = draw.beta(rate * sure, (1.0 - rate) * sure, self.shape())
        unasked = draw.beta(rate * sure, (1.0 - rate) * sure, (others, *self.shape())).mean(axis=0)
        values = (draw.random(self.shape()) < asked).astype(float)
        difference = asked - unasked
        if kind == "useless":
            difference = draw.random(self.shape()) - draw.random((others, *self.shape())).mean(axis=0)
        elif kind == "against":
            difference = -difference
        elif kind == "turning":
            difference[TURN:] *= -1.0
        elif kind == "constant":
            difference = np.zeros(self.shape())
        return values, difference

    def candidates(self) -> Iterator[Case]:
        """Several beside each other, on the same prompts, whose baseline's answers are good or bad for all of them alike."""
        for count in (2, 4):
            for better in sorted({0, 1, count - 1}):
                rates = [0.6] * better + [0.5] * (count - better)
                draw = self.draw(5, count, better)
                shared = draw.normal(0.0, 0.2, self.shape())
                at, mean = [], []
                for rate in rates:
                    values = (draw.random(self.shape()) < np.clip(rate + shared, 0.0, 1.0)).astype(float)
                    looks = play(values, error=DEFAULT_ERROR / count)
                    at.append(looks.promoted)
                    mean.append(values.cumsum(axis=0)[np.minimum(looks.promoted, DEFAULT_UNITS) - 1, range(self.plays)])
                first = np.min(at, axis=0)
                among = np.where(np.array(at) == first, np.array(mean), -1.0)  # as many prompts each: the best one that passes
                chosen = np.where(first < NEVER, among.argmax(axis=0), -1)
                name = f"{count} candidates, of which {better} win .6"
                units = float(np.minimum(first, DEFAULT_UNITS).mean())
                yield Case(
                    f"{name}, one that is not better promoted", int((chosen >= better).sum()), self.plays, units, DEFAULT_ERROR
                )
                if better:
                    yield Case(f"{name}, one of them promoted", int(((chosen >= 0) & (chosen < better)).sum()), self.plays, units)

    def flags(self) -> Iterator[Case]:
        for margin in (DEFAULT_FLAG_MARGIN, 0.05):
            for share in (0.0, 0.02, 0.05, 0.1, 0.3):
                draw = self.draw(6, int(100 * share), int(100 * margin))
                for rate in (0.6, 0.7):
                    values = verdicts(draw, rate, 0.0, 1, self.shape())
                    shares = flagged(draw, share, share, 1, self.shape())
                    looks = play(values, flags=[shares], flag_margin=margin)
                    alarm = play(np.full(self.shape(), 0.5), flags=[shares], flag_margin=margin)
                    more = {"false alarms": float((alarm.rejected < NEVER).mean())}
                    yield case(f"true {rate}, a flag on {share} of either side, margin {margin}", looks, more=more)
                harm = flagged(draw, share + margin, share, 1, self.shape())
                harmed = play(verdicts(draw, 0.7, 0.0, 1, self.shape()), flags=[harm], flag_margin=margin)
                yield case(f"true 0.7, a flag on {share} and {share + margin:.2f}, margin {margin}", harmed, limit=DEFAULT_ERROR)

    def beside(self) -> Iterator[Case]:
        """The paper's predictable plug-in, as `ville` has it, and an interval for one look that is looked at every time."""
        for rate in (0.5, *RATES):
            values = verdicts(self.draw(1, 0), rate, 0.0, 1, self.shape())
            stops = [
                ville.BettingTest(0.5, alternative="greater", alpha=DEFAULT_ERROR).fit(row).stopping_time() for row in values.T
            ]
            at = np.array([NEVER if stop is None else stop for stop in stops])
            yield case(f"true {rate}, the paper's plug-in", Looks(at, np.full(self.plays, NEVER)))
        counts = np.arange(1, DEFAULT_UNITS + 1)[:, None]
        even = verdicts(self.draw(1, 0), 0.5, 0.0, 1, self.shape())
        far = (even.cumsum(axis=0) - counts / 2) / np.sqrt(counts / 4) > 1.6449
        peeked = np.where(far[9:].any(axis=0), far[9:].argmax(axis=0) + 10, NEVER)
        yield case("true 0.5, an interval for one look, from the tenth prompt on", Looks(peeked, np.full(self.plays, NEVER)))

    def all(self) -> Iterator[Case]:
        for part in (self.rates, self.few_prompts, self.people, self.predictions, self.candidates, self.flags, self.beside):
            yield from part()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plays", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.monotonic()
    cases = []
    for one in Bench(given.plays, given.seed).all():
        low, high = wilson(one.share, one.plays)
        more = "".join(f"; {name} {figure:.3g}" for name, figure in one.more.items())
        say(f"{one.name}: promoted {one.share:.4f} ({low:.4f}-{high:.4f}), {one.units:.0f} prompts{more}")
        cases.append(one)
    wrong = broken(cases)
    for line in wrong:
        say(f"PROMISE BROKEN: {line}")
    told = {one.name: {"promoted": one.share, "prompts": round(one.units, 1), **one.more} for one in cases}
    seconds = round(time.monotonic() - started)
    print(json.dumps({"bench": "evaluation", "plays": given.plays, "seconds": seconds, "broken": wrong, "cases": told}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
