"""Noise told from taste: how soon the pages know of each person what they decide by: `python bench/noise.py [--crowds 20]`.

Twenty made-up people: six careful, three hasty, one of whom four in five choices are the left side, one who likes the longer
answer, two who press at random, two who mean the opposite, and five of another taste, which has nothing to do with the others'.
Questions go round, so that everybody meets everybody; 5 % of tasks have a known answer, 3 % come back. Found is who, by their
page, decides by chance or against all; beside it, who could be found at best by one who knew of which kind everybody else is.
The last line on stdout is one JSON object.
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
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from app.quality.measures.by_person import Bools, Floats, Ints, shares_by
from app.quality.noise.kinds import KINDS, Checks, probabilities
from app.quality.report import what_decides
from bench.installation import say

KINDS_OF_PEOPLE: Final = (
    ("careful",) * 6 + ("hasty",) * 3 + ("side", "length") + ("random",) * 2 + ("opposite",) * 2 + ("minority",) * 5
)
NOISY: Final = ("random", "opposite")
PEOPLE: Final = len(KINDS_OF_PEOPLE)
STRENGTH: Final = 3.0  # deviation of a difference in log odds: the careful agree with each other on three of four
GOLD, REPEATS = 0.05, 0.03
SURE: Final = 1.5  # a known answer is at least so clear
TRUTHS: Final = 4000  # drawn, for what can be told at best
_NORMAL: Final = np.random.default_rng(1).normal(size=TRUTHS)


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
    put = asked(draw, questions)
    first_left = _sides(draw, len(items))
    signs, checks = np.zeros(len(items)), np.zeros((4, PEOPLE))
    for person, kind in enumerate(KINDS_OF_PEOPLE):
        mine = people == person
        signs[mine] = said(draw, kind, put[items[mine]], first_left[mine])
        known, again = draw.binomial(each, GOLD), draw.binomial(each, REPEATS)
        clear = np.column_stack([np.tile(STRENGTH * np.abs(draw.normal(size=(known, 1))) + SURE, (1, 2)), np.zeros(known)])
        twice = asked(draw, again)
        same = said(draw, kind, twice, _sides(draw, again)) == said(draw, kind, twice, _sides(draw, again))
        checks[:, person] = known, (said(draw, kind, clear, _sides(draw, known)) > 0).sum(), again, same.sum()
    return Crowd(items, people, signs, signs == first_left, Checks(*checks))


def asked(draw: np.random.Generator, count: int) -> Floats:
    """(count, 3): how much better the first answer is to most, to the minority, and how much longer it is."""
    found: Floats = draw.normal(size=(count, 3)) * (STRENGTH, STRENGTH, 1.5)
    return found


def _sides(draw: np.random.Generator, count: int) -> Floats:
    return 2.0 * draw.integers(0, 2, count).astype(np.float64) - 1.0


def said(draw: np.random.Generator, kind: str, put: Floats, first_left: Floats) -> Floats:
    """+1 for the first answer; `first_left` is +1 where it stands left."""
    return np.where(draw.random(len(put)) < first_chosen(kind, put, first_left), 1.0, -1.0)


def first_chosen(kind: str, put: Floats, first_left: Floats) -> Floats:
    """(n,) how probable it is that somebody of this kind chooses the first answer."""
    better, theirs, longer = put.T
    lean = {
        "hasty": 0.4 * better,
        "length": 0.5 * better + 1.5 * longer,
        "random": 0.0 * better,
        "opposite": -better,
        "minority": theirs,
    }.get(kind, better)
    chance: Floats = 1 / (1 + np.exp(-lean))
    return 0.6 * (first_left > 0) + 0.4 * chance if kind == "side" else chance


def found_in(made: Crowd) -> list[str]:
    """What each person decides by, as their page says; "" where nothing is more probable than all else."""
    chances = probabilities(made.items, made.people, made.signs, made.left, made.checks)
    left = shares_by(made.people, made.left, PEOPLE)
    return [what_decides(dict(zip(KINDS, one, strict=True)), own) or "" for one, own in zip(chances.tolist(), left, strict=True)]


def best_found_in(made: Crowd, put: Floats) -> list[str]:
    """What could be told at best of each person: by one who knows how each kind judges, how many are of each, and of which kind
    everybody else is; not what is true of a question. `put` (n, 3): questions as they are asked, over which truths are averaged.
    """
    kinds = list(dict.fromkeys(KINDS_OF_PEOPLE))
    chances = {side: np.stack([first_chosen(kind, put, np.full(len(put), side)) for kind in kinds]) for side in (1.0, -1.0)}
    sides = np.where(made.left, made.signs, -made.signs)
    scores = np.tile(np.log([KINDS_OF_PEOPLE.count(kind) / PEOPLE for kind in kinds]), (PEOPLE, 1)) + _of_checks(made, chances)
    for question in range(int(made.items.max()) + 1):
        rows = np.flatnonzero(made.items == question)
        each = [chances[sides[row]] if made.signs[row] > 0 else 1 - chances[sides[row]] for row in rows]  # (kinds, n)
        own = [found[kinds.index(KINDS_OF_PEOPLE[made.people[row]])] for found, row in zip(each, rows, strict=True)]
        together = np.prod(own, axis=0)
        for found, mine, row in zip(each, own, rows, strict=True):
            rest = together / mine  # what the others say of the question
            scores[made.people[row]] += np.log(found @ rest / rest.sum())
    chance = np.exp(scores - scores.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    named = {"random": "chance"}
    return [named.get(kinds[one.argmax()], kinds[one.argmax()]) if one.max() > 0.5 else "" for one in chance]


def _of_checks(made: Crowd, chances: Mapping[float, Floats]) -> Floats:
    """(people, kinds) log-likelihood of known answers and repeats."""
    checks = made.checks
    clear = np.column_stack([np.tile(STRENGTH * np.abs(_NORMAL) + SURE, (2, 1)).T, np.zeros(len(_NORMAL))])
    found = np.zeros((PEOPLE, len(dict.fromkeys(KINDS_OF_PEOPLE))))
    for at, kind in enumerate(dict.fromkeys(KINDS_OF_PEOPLE)):
        right = statistics.fmean(float(first_chosen(kind, clear, np.full(len(clear), side)).mean()) for side in (1.0, -1.0))
        both = [chances[one][at] * chances[other][at] for one in chances for other in chances]
        neither = [(1 - chances[one][at]) * (1 - chances[other][at]) for one in chances for other in chances]
        same = float(np.mean(both) + np.mean(neither))
        found[:, at] = checks.right * np.log(right) + (checks.known - checks.right) * np.log(1 - right)
        found[:, at] += checks.same * np.log(same) + (checks.again - checks.same) * np.log(1 - same)
    return found


def measured(crowds: int, each: int, overlap: int) -> dict[str, Any]:
    told, best = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    put = asked(np.random.default_rng(0), TRUTHS)
    for seed in range(crowds):
        made = crowd(seed, each, overlap)
        told.update(zip(KINDS_OF_PEOPLE, found_in(made), strict=True))
        best.update(zip(KINDS_OF_PEOPLE, best_found_in(made, put), strict=True))
    at_best = {f"{name}_at_best": scored(best)[name] for name in ("precision", "recall")}
    return {"labels_each": each, "overlap": overlap} | scored(told) | at_best


def scored(told: Counter[tuple[str, str]]) -> dict[str, Any]:
    """`told`: of people who are so, how many are told to be what. Who decides by chance or against all is to be found."""
    flagged = {key: n for key, n in told.items() if key[1] in ("chance", "opposite")}
    right = sum(n for (kind, _), n in flagged.items() if kind in NOISY)
    noisy = sum(n for (kind, _), n in told.items() if kind in NOISY)
    return {
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
    for overlap in (3, 5, 7, 14):
        for each in (60, 80, 100):
            rows.append(measured(given.crowds, each, overlap))
            say(json.dumps(rows[-1]))
    print(json.dumps({"bench": "noise", "crowds": given.crowds, "rows": rows}))


if __name__ == "__main__":
    main()
