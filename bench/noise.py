"""Noise told from taste: how soon the pages know of each person what they decide by: `python bench/noise.py [--crowds 20]`.

Twenty made-up people: six careful, three hasty, one of whom four in five choices are the left side, one who likes the longer
answer, two who press at random, two who mean the opposite, and five of another taste, which has nothing to do with the others'.
Questions go round, so that everybody meets everybody; 5 % of tasks have a known answer, 3 % come back. Found is who, by their
page, decides by chance or against all. The last line on stdout is one JSON object.
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
from collections import Counter
from typing import Any, Final, NamedTuple

import numpy as np

from app.quality.measures.by_person import Bools, Floats, Ints, shares_by
from app.quality.noise.kinds import KINDS, Checks, probabilities
from app.quality.report import has_side
from bench.installation import say

KINDS_OF_PEOPLE: Final = (
    ("careful",) * 6 + ("hasty",) * 3 + ("side", "length") + ("random",) * 2 + ("opposite",) * 2 + ("minority",) * 5
)
NOISY: Final = ("random", "opposite")
PEOPLE: Final = len(KINDS_OF_PEOPLE)
STRENGTH: Final = 3.0  # deviation of a difference in log odds: the careful agree with each other on three of four
GOLD, REPEATS = 0.05, 0.03
SURE: Final = 1.5  # a known answer is at least so clear


class Crowd(NamedTuple):
    items: Ints
    people: Ints
    signs: Floats
    left: Bools  # whether the answer that was chosen stood left
    checks: Checks


def crowd(seed: int, each: int, overlap: int) -> Crowd:
    """Everybody's verdicts: `each` labels of each person, `overlap` people to a question."""
    draw = np.random.default_rng(seed)
    questions = each * PEOPLE // overlap
    people = np.concatenate([draw.permutation(PEOPLE) for _ in range(each)])[: questions * overlap]
    items = np.repeat(np.arange(questions), overlap)
    asked = _asked(draw, questions)
    first_left = _sides(draw, len(items))
    signs, checks = np.zeros(len(items)), np.zeros((4, PEOPLE))
    for person, kind in enumerate(KINDS_OF_PEOPLE):
        mine = people == person
        signs[mine] = _said(draw, kind, asked[items[mine]], first_left[mine])
        known, again = draw.binomial(each, GOLD), draw.binomial(each, REPEATS)
        clear = np.column_stack([np.tile(STRENGTH * np.abs(draw.normal(size=(known, 1))) + SURE, (1, 2)), np.zeros(known)])
        twice = _asked(draw, again)
        same = _said(draw, kind, twice, _sides(draw, again)) == _said(draw, kind, twice, _sides(draw, again))
        checks[:, person] = known, (_said(draw, kind, clear, _sides(draw, known)) > 0).sum(), again, same.sum()
    return Crowd(items, people, signs, signs == first_left, Checks(*checks))


def _asked(draw: np.random.Generator, count: int) -> Floats:
    """(count, 3): how much better the first answer is to most, to the minority, and how much longer it is."""
    found: Floats = draw.normal(size=(count, 3)) * (STRENGTH, STRENGTH, 1.5)
    return found


def _sides(draw: np.random.Generator, count: int) -> Floats:
    return 2.0 * draw.integers(0, 2, count).astype(np.float64) - 1.0


def _said(draw: np.random.Generator, kind: str, asked: Floats, first_left: Floats) -> Floats:
    """+1 for the first answer; `first_left` is +1 where it stands left."""
    better, theirs, longer = asked.T
    lean = {
        "hasty": 0.4 * better,
        "length": 0.5 * better + 1.5 * longer,
        "random": 0.0 * better,
        "opposite": -better,
        "minority": theirs,
    }.get(kind, better)
    chance = 1 / (1 + np.exp(-lean))
    if kind == "side":
        chance = np.where(draw.random(len(asked)) < 0.6, first_left > 0, chance)
    return np.where(draw.random(len(asked)) < chance, 1.0, -1.0)


def found_in(made: Crowd) -> list[str]:
    """What each person decides by, as their page says; "" where nothing is more probable than all else."""
    chances = probabilities(made.items, made.people, made.signs, made.checks)
    left = shares_by(made.people, made.left, PEOPLE)
    told = [KINDS[int(one.argmax())] if one.max() > 0.5 else "" for one in chances]
    return ["side" if kind == "chance" and has_side(own) else kind for kind, own in zip(told, left, strict=True)]


def measured(crowds: int, each: int, overlap: int) -> dict[str, Any]:
    told = Counter(
        (kind, found)
        for seed in range(crowds)
        for kind, found in zip(KINDS_OF_PEOPLE, found_in(crowd(seed, each, overlap)), strict=True)
    )
    flagged = {key: n for key, n in told.items() if key[1] in ("chance", "opposite")}
    right = sum(n for (kind, _), n in flagged.items() if kind in NOISY)
    noisy = sum(n for (kind, _), n in told.items() if kind in NOISY)
    return {
        "labels_each": each,
        "overlap": overlap,
        "precision": round(right / max(1, sum(flagged.values())), 3),
        "recall": round(right / noisy, 3),
        "found": {
            kind: {found or "unclear": n for (of, found), n in sorted(told.items()) if of == kind}
            for kind in dict.fromkeys(KINDS_OF_PEOPLE)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crowds", type=int, default=20)
    given = parser.parse_args()
    rows = []
    for overlap in (3, 5, 7):
        for each in (60, 100, 160):
            rows.append(measured(given.crowds, each, overlap))
            say(json.dumps(rows[-1]))
    print(json.dumps({"bench": "noise", "crowds": given.crowds, "rows": rows}))


if __name__ == "__main__":
    main()
