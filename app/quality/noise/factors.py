"""Who agrees with whom, as a map of people: how far each decides with others at all, and in which direction.

Person j has a place q_j in the unit disk; on one question the verdicts of two people, +1 for one answer and -1 for the other, go
together as q_j . q_k. The length of q_j is how much of a verdict others could foretell, 0 for somebody who throws a coin; its
direction is what they decide by. It is a factor model of two factors (Bartholomew et al. 2011, "Latent Variable Models"):
x_t ~ N(0, 1) for each question and y_tj = q_j . x_t + noise, of which P(y_tj | others) = (1 + y_tj q_j . m) / 2 with m the mean
of x_t given what the others said of the question.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from app.quality.measures.by_person import Floats, Ints

LONGEST: Final = 0.9  # of a place: somebody is foretold surely by nobody
PRIOR: Final = 4.0  # precision of a coordinate
ROUNDS: Final = 30
STEPS: Final = 3
STILL: Final = 1e-3
LEAST: Final = 0.05  # of a probability twice over
DIRECTIONS: Final = 72


def places(items: Ints, people: Ints, signs: Floats, count: int) -> Floats:
    """(people, 2), turned so that the direction in which most decide is (1, 0)."""
    found = _shortened(_first(items, people, signs, count))
    for _ in range(ROUNDS):
        before, means = found, others(items, people, signs, found)
        moved = before
        for _ in range(STEPS):
            moved = _shortened(moved + _step(people, signs, means, moved, count))
        found = (before + moved) / 2  # people move together, so that each goes half of the way
        if np.abs(found - before).max() < STILL:
            break
    return _turned(found)


def others(items: Ints, people: Ints, signs: Floats, place: Floats) -> Floats:
    """(labels, 2) what the others' verdicts on the question say of it: the mean of x given them."""
    weighed = place / np.maximum(1.0 - (place**2).sum(1), 1.0 - LONGEST**2)[:, None]
    told = np.column_stack([place[:, 0] * weighed[:, 0], place[:, 0] * weighed[:, 1], place[:, 1] * weighed[:, 1]])[people]
    heard = weighed[people] * signs[:, None]
    own = np.column_stack([told, heard])
    size = int(items.max()) + 1
    rest = np.column_stack([np.bincount(items, column, size) for column in own.T])[items] - own
    first, cross, second = 1.0 + rest[:, 0], rest[:, 1], 1.0 + rest[:, 2]
    one, other = rest[:, 3], rest[:, 4]
    found: Floats = np.column_stack([second * one - cross * other, first * other - cross * one])
    found /= (first * second - cross**2)[:, None]
    return found


def _first(items: Ints, people: Ints, signs: Floats, count: int) -> Floats:
    """The two leading eigenvectors of how far each two agree, those weighing more that met more often."""
    both, alike = np.zeros((count, count)), np.zeros((count, count))
    order = np.argsort(items, kind="stable")
    items, people, signs = items[order], people[order], signs[order]
    step = 1
    while step < len(items) and (same := items[step:] == items[:-step]).any():
        pair = (people[:-step][same], people[step:][same])
        np.add.at(both, pair, 1.0)
        np.add.at(alike, pair, signs[:-step][same] * signs[step:][same])
        step += 1
    both, alike = both + both.T, alike + alike.T
    np.fill_diagonal(alike, 0.0)
    met = both[both > 0]
    if not len(met):
        return np.zeros((count, 2))
    agreement = alike / np.maximum(1.0, both) * np.sqrt(both / np.median(met))
    values, vectors = np.linalg.eigh(agreement)
    found: Floats = LONGEST * vectors[:, :-3:-1] * np.sqrt(np.maximum(0.0, values[:-3:-1]))
    return found


def _step(people: Ints, signs: Floats, means: Floats, place: Floats, count: int) -> Floats:
    """Newton's, of each person's log posterior: sums of logs of what is linear in their place, which are concave."""
    chance = np.maximum(LEAST, 1.0 + signs * (place[people] * means).sum(1))
    pull = signs / chance
    slope = np.column_stack([np.bincount(people, pull * column, count) for column in means.T]) - PRIOR * place
    curve = [np.bincount(people, means[:, one] * means[:, other] / chance**2, count) for one, other in ((0, 0), (0, 1), (1, 1))]
    first, cross, second = curve[0] + PRIOR, curve[1], curve[2] + PRIOR
    found: Floats = np.column_stack([second * slope[:, 0] - cross * slope[:, 1], first * slope[:, 1] - cross * slope[:, 0]])
    found /= (first * second - cross**2)[:, None]
    return found


def _shortened(place: Floats) -> Floats:
    length = np.sqrt((place**2).sum(1, keepdims=True))
    found: Floats = place * np.minimum(1.0, LONGEST / np.maximum(length, 1e-12))
    return found


def _turned(place: Floats) -> Floats:
    """So that (1, 0) is where most people's places point, long ones counting more; others do not draw it to them."""
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    along = np.stack([np.cos(angle), np.sin(angle)])
    length = np.sqrt((place**2).sum(1, keepdims=True))
    cosine = np.maximum(0.0, place @ along / np.maximum(length, 1e-12))
    one, other = along[:, (length * cosine**4).sum(0).argmax()]
    found: Floats = place @ np.array([[one, -other], [other, one]])
    return found
