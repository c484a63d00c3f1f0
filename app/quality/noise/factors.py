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
    along, across = np.ascontiguousarray(place.T)
    sure = np.maximum(1.0 - (along**2 + across**2), 1.0 - LONGEST**2)
    size = int(items.max()) + 1

    def rest(own: Floats) -> Floats:
        """(labels,) summed over who else answered the same question."""
        found: Floats = np.bincount(items, own, size).take(items) - own
        return found

    first, cross, second = (rest((column / sure).take(people)) for column in (along**2, along * across, across**2))
    first, second = 1.0 + first, 1.0 + second
    one, other = (rest((column / sure).take(people) * signs) for column in (along, across))
    found: Floats = np.stack([second * one - cross * other, first * other - cross * one])  # each coordinate in one piece
    found /= first * second - cross**2
    return found.T


def _first(items: Ints, people: Ints, signs: Floats, count: int) -> Floats:
    """The two leading eigenvectors of how far each two agree, those weighing more that met more often."""
    both, alike = np.zeros(count * count), np.zeros(count * count)
    order = np.argsort(items, kind="stable")
    items, people, signs = items[order], people[order], signs[order]
    step = 1
    while step < len(items) and (same := items[step:] == items[:-step]).any():
        pair = people[:-step][same] * count + people[step:][same]
        both += np.bincount(pair, minlength=count * count)
        alike += np.bincount(pair, signs[:-step][same] * signs[step:][same], count * count)
        step += 1
    both, alike = (one + one.T for one in (both.reshape(count, count), alike.reshape(count, count)))
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
    along, across = means.T
    mine = np.ascontiguousarray(place.T)
    chance = np.maximum(LEAST, 1.0 + signs * (mine[0].take(people) * along + mine[1].take(people) * across))
    pull, told = signs / chance, 1.0 / chance**2
    slope = np.stack([np.bincount(people, pull * column, count) for column in (along, across)]) - PRIOR * mine
    first = np.bincount(people, told * along * along, count) + PRIOR
    cross = np.bincount(people, told * along * across, count)
    second = np.bincount(people, told * across * across, count) + PRIOR
    found: Floats = np.stack([second * slope[0] - cross * slope[1], first * slope[1] - cross * slope[0]])
    found /= first * second - cross**2
    return found.T


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
