"""What is true of each item, and how often each person says so, from their verdicts alone.

Dawid & Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm". Each person has a table of
how likely they say each value where another is true; tables and truths are found in turn, from the majority on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from app.quality.measures.by_person import Floats, Ints
from app.quality.measures.figure import Figure
from trainer.contract.intervals import NORMAL_95

ROUNDS: Final = 100
TOLERANCE: Final = 1e-5  # of the mean log likelihood of an item, in nats
LEAST: Final = 1e-10  # no probability is less, so that one verdict never decides against all others


@dataclass(frozen=True, slots=True)
class Truths:
    items: Floats  # (items, values) how probable each value is
    tables: Floats  # (people, true value, value said)
    shares: Floats  # (values,) of the items

    @property
    def labels(self) -> Ints:
        """The likeliest value of each item."""
        found: Ints = self.items.argmax(axis=1)
        return found


def dawid_skene(
    items: Ints,  # (labels,) 0, 1, ...
    people: Ints,  # (labels,)
    values: Ints,  # (labels,)
    sizes: tuple[int, int, int],  # how many items, people and values there are
    *,
    rounds: int = ROUNDS,
    tolerance: float = TOLERANCE,
) -> Truths:
    count, _, size = sizes
    votes = np.bincount(items * size + values, minlength=count * size).reshape(count, size).astype(np.float64)
    truths = votes / np.maximum(1.0, votes.sum(axis=1, keepdims=True))
    before = -np.inf
    for _ in range(rounds):
        shares = np.maximum(truths.mean(axis=0), LEAST)
        tables = _tables(items, people, values, truths, sizes)
        joint = np.log(shares) + _said(items, people, values, tables, sizes)  # (items, values) log P(value, verdicts)
        most = joint.max(axis=1, keepdims=True)
        evidence = most + np.log(np.exp(joint - most).sum(axis=1, keepdims=True))
        truths = np.exp(joint - evidence)
        now = float(evidence.mean())
        if now - before < tolerance:
            break
        before = now
    return Truths(truths, tables, shares)


def _tables(items: Ints, people: Ints, values: Ints, truths: Floats, sizes: tuple[int, int, int]) -> Floats:
    _, count, size = sizes
    said, by_value = people * size + values, np.ascontiguousarray(truths.T)
    tables = np.stack(
        [np.bincount(said, weights=by_value[true].take(items), minlength=count * size) for true in range(size)], axis=1
    ).reshape(count, size, size)  # (people, value said, true value) by how `said` counts
    tables = np.maximum(tables.transpose(0, 2, 1), LEAST)
    found: Floats = tables / tables.sum(axis=2, keepdims=True)
    return found


def _said(items: Ints, people: Ints, values: Ints, tables: Floats, sizes: tuple[int, int, int]) -> Floats:
    count, _, size = sizes
    said, logs = people * size + values, np.ascontiguousarray(np.log(tables).transpose(1, 0, 2)).reshape(size, -1)
    return np.stack([np.bincount(items, weights=one.take(said), minlength=count) for one in logs], axis=1)


def accuracies(items: Ints, people: Ints, values: Ints, found: Truths) -> list[Figure]:
    """How often each person says what is true, where the others' verdicts on an item are all that is known of its truth.

    The likeliest share a of  P(verdict v) = r_v a + (1 - a) sum over w != v of r_w q_v / (1 - q_w),  r being the others'
    probabilities of each value and q how often each is said at all, with one verdict of either kind added. Its interval is
    normal in log odds, by what each verdict tells.
    """
    count, size = found.tables.shape[:2]
    others = np.log(np.maximum(found.items[items], 1e-300)) - np.log(found.tables)[people, :, values]  # (labels, values)
    others = np.exp(others - others.max(axis=1, keepdims=True))
    others /= others.sum(axis=1, keepdims=True)
    right = others[np.arange(len(values)), values]
    said = np.minimum(np.bincount(values, minlength=size) / max(1, len(values)), 1.0 - LEAST)
    wrong = said[values] * ((others / (1.0 - said)).sum(axis=1) - right / (1.0 - said[values]))
    right, wrong = np.maximum(right, LEAST), np.maximum(wrong, LEAST)
    n = np.bincount(people, minlength=count)
    share = np.full(count, 0.5)
    for _ in range(ROUNDS):
        mine = share[people]
        before, share = (
            share,
            (np.bincount(people, right * mine / (right * mine + wrong * (1.0 - mine)), count) + 1.0) / (n + 2.0),
        )
        if np.abs(share - before).max() < TOLERANCE:
            break
    mine = share[people]
    told = np.bincount(people, ((right - wrong) / (right * mine + wrong * (1.0 - mine))) ** 2, count)
    odds = np.log(share / (1.0 - share))
    half = NORMAL_95 / np.sqrt(np.maximum(told, 1.0) * (share * (1.0 - share)) ** 2)
    low, high = (1.0 / (1.0 + np.exp(-np.clip(odds + side * half, -50.0, 50.0))) for side in (-1.0, 1.0))
    return [
        Figure(int(count), float(one), float(least), float(most)) if count else Figure(0)
        for count, one, least, most in zip(n, share, low, high, strict=True)
    ]
