"""Counting a project's verdicts: how far people agree, and each person's habits and steadiness.

Pure: columns in, figures out. Nobody is ranked, and nothing is made of a figure that rests on fewer than thirty.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from app.quality.columns import BOTH_BAD, LEFT, RIGHT, TIE, UNKNOWN, Columns
from app.quality.measures.agreement import alpha, pairs, with_others
from app.quality.measures.by_person import Bools, Floats, Ints, means_by, medians_by, shares_by
from app.quality.measures.dawid_skene import accuracies, dawid_skene
from app.quality.measures.discrimination import Judged, discriminations
from app.quality.measures.figure import ENOUGH, NOTHING, Figure, share
from app.quality.noise.kinds import KINDS, Checks, probabilities
from app.quality.report import Pair, Person, Question, Report

NEAR: Final = 1  # ratings so far apart are alike
LONGER: Final = 1.25  # times as long: there is a longer answer
READ_BYTES_A_S: Final = 25.0  # about 250 English words, or 500 Chinese characters, a minute
HASTY: Final = 0.25  # of the time that reading takes: nobody has read the answers
MOST_SHOWN: Final = 40  # people of whom each two are compared: those with the most labels
ROUNDS: Final = 10  # of finding truths: what changes afterwards is far inside of every interval
OUTCOMES: Final = 4  # the first is better, tie, the second, both bad


class Known(NamedTuple):
    """What a check asks for: of a repeat what was said before, of gold the right answer. `better` is UNKNOWN of a rating."""

    gold: bool
    better: int  # the answer that is better, -TIE or -BOTH_BAD for neither
    overall: int


def count(columns: Columns, known: dict[int, Known]) -> Report:
    """`known`: by task, what its person's verdict is held against."""
    all_labels = columns.in_force
    if not len(all_labels):
        return Report()
    tasks, place = np.unique(all_labels.task, return_inverse=True)
    known = {at: known[task] for at, task in enumerate(tasks.tolist()) if task in known}
    all_labels.task = place  # numbered from 0 on
    ids, person = np.unique(all_labels.person, return_inverse=True)
    asked = all_labels.checks == 0
    real, real_person = all_labels.only(asked), person[asked]
    questions = list(_questions(real))
    shown = np.sort(np.argsort(-np.bincount(real_person, minlength=len(ids)), kind="stable")[:MOST_SHOWN])
    alike = _alike(real, real_person, len(ids))
    return Report(
        labels=len(all_labels),
        questions=questions,
        people=_people(all_labels, person, real, real_person, ids, known),
        pairs=[
            Pair(int(ids[one]), int(ids[other]), share(float(alike.alike[one, other]), int(alike.both[one, other])))
            for one in shown
            for other in shown
            if one < other and alike.both[one, other]
        ],
    )


def _outcome(labels: Columns, choice: Ints) -> Ints:
    """The same for all, whoever saw which answer left: 0 the one with the lower id is better, 1 tie, 2 the other, 3 both bad."""
    swapped = (labels.left > labels.right) & ((choice == LEFT) | (choice == RIGHT))
    found: Ints = np.where(swapped, RIGHT - choice, choice)
    return found


def _questions(labels: Columns) -> list[Question]:
    compared, rated = labels.only(labels.choice != UNKNOWN), labels.only(labels.choice == UNKNOWN)
    found = []
    if len(compared):
        found.append(_of_choices("", compared, compared.choice))
    if len(rated):
        found.append(_of_ratings("", rated, rated.overall))
    for key in sorted({key for criteria in labels.said for key in criteria}):
        sides = np.array([{"left": LEFT, "tie": TIE, "right": RIGHT}.get(str(one.get(key)), UNKNOWN) for one in labels.said])
        marks = np.array([one[key] if isinstance(one.get(key), int) else 0 for one in labels.said], np.int64)
        choice, mark = sides[compared.criteria], marks[rated.criteria]
        if (choice != UNKNOWN).any():
            found.append(_of_choices(key, compared.only(choice != UNKNOWN), choice[choice != UNKNOWN]))
        if mark.any():
            found.append(_of_ratings(key, rated.only(mark > 0), mark[mark > 0]))
    return found


def _of_choices(key: str, labels: Columns, choice: Ints) -> Question:
    """Ordinal is from one answer over the tie to the other; "both bad" is no step between."""
    outcome = _outcome(labels, choice)
    ordered = outcome != BOTH_BAD
    return Question(
        key,
        "comparison",
        alpha(labels.task, outcome, "nominal"),
        alpha(labels.task[ordered], outcome[ordered], "ordinal"),
    )


def _of_ratings(key: str, labels: Columns, mark: Ints) -> Question:
    return Question(key, "rating", alpha(labels.task, mark, "nominal"), alpha(labels.task, mark, "ordinal"))


class _Alike(NamedTuple):
    both: Ints
    alike: Ints


def _alike(labels: Columns, person: Ints, people: int) -> _Alike:
    compared = labels.choice != UNKNOWN
    choices = pairs(labels.task[compared], person[compared], _outcome(labels, labels.choice)[compared], people)
    marks = pairs(labels.task[~compared], person[~compared], labels.overall[~compared], people, near=NEAR)
    return _Alike(choices.both + marks.both, choices.alike + marks.alike)


def _people(
    all_labels: Columns,
    all_person: Ints,
    labels: Columns,
    person: Ints,
    ids: Ints,
    known: dict[int, Known],
) -> list[Person]:
    people = len(ids)
    compared = labels.choice != UNKNOWN
    decided = compared & ((labels.choice == LEFT) | (labels.choice == RIGHT))
    longer = _longer(labels)
    spent = all_labels.spent_ms > 0
    seconds = all_labels.spent_ms[spent] / 1000.0
    reads = (all_labels.left_bytes + all_labels.right_bytes)[spent] / READ_BYTES_A_S
    pace = seconds / np.maximum(reads, 0.1)
    steady, gold = _checked(all_labels, all_person, known, people)
    figures = {
        "agrees": _agrees(labels, person, people),
        "steady": steady,
        "gold": gold,
        "accuracy": _accuracies(labels.only(compared), person[compared], people),
        "discrimination": _discriminations(labels.only(compared), person[compared], people),
        "leniency": _leniency(labels.only(~compared), person[~compared], people),
        "left": shares_by(person[decided], labels.choice[decided] == LEFT, people),
        "longer": shares_by(person[decided & (longer != TIE)], (labels.choice == longer)[decided & (longer != TIE)], people),
        "ties": shares_by(person[compared], labels.choice[compared] == TIE, people),
        "seconds": medians_by(all_person[spent], seconds, people),
        "reading": medians_by(all_person[spent], pace, people),
        "hasty": shares_by(all_person[spent], pace < HASTY, people),
    }
    total = np.bincount(all_person, minlength=people)
    decides = _kinds(labels.only(decided), person[decided], steady, gold)
    return [
        Person(int(ids[one]), int(total[one]), **{name: found[one] for name, found in figures.items()}, decides=decides[one])
        for one in range(people)
    ]


def _kinds(labels: Columns, person: Ints, steady: list[Figure], gold: list[Figure]) -> list[dict[str, float]]:
    """Of each person what they decide by; nothing of those who chose too seldom where others did."""
    shared = _shared(labels)
    labels, person = labels.only(shared), person[shared]
    (known, right), (again, same) = (
        (np.array([one.n for one in some], float), np.array([one.n * (one.value or 0.0) for one in some]))
        for some in (gold, steady)
    )
    signs: Floats = 1.0 - _outcome(labels, labels.choice).astype(np.float64)
    found = probabilities(labels.task, person, signs, labels.choice == LEFT, Checks(known, right, again, same))
    n = np.bincount(person, minlength=len(gold))
    return [
        dict(zip(KINDS, map(float, one), strict=True)) if count >= ENOUGH else {} for one, count in zip(found, n, strict=True)
    ]


def _agrees(labels: Columns, person: Ints, people: int) -> list[Figure]:
    """One trial a task, however many others judged it: their verdicts on it are not independent of each other."""
    compared = labels.choice != UNKNOWN
    outcome = _outcome(labels, labels.choice)
    shares = np.empty(len(labels))
    shares[compared] = with_others(labels.task[compared], outcome[compared])
    shares[~compared] = with_others(labels.task[~compared], labels.overall[~compared], near=NEAR)
    shared = ~np.isnan(shares)
    alike, tasks = (np.bincount(person[shared], weights, people) for weights in (shares[shared], None))
    return [share(float(hits), int(n)) for hits, n in zip(alike, tasks, strict=True)]


def _longer(labels: Columns) -> Ints:
    """Which side is the longer answer; TIE where neither is by much."""
    left, right = labels.left_bytes, labels.right_bytes
    found: Ints = np.where(left > LONGER * right, LEFT, np.where(right > LONGER * left, RIGHT, TIE))
    return found


def _checked(labels: Columns, person: Ints, known: dict[int, Known], people: int) -> tuple[list[Figure], list[Figure]]:
    """How often each said the same again, and what is right."""
    which = [place for place, task in enumerate(labels.task.tolist()) if task in known]
    asked, who = labels.only(np.isin(np.arange(len(labels)), which)), person[which]
    wanted = [known[task] for task in asked.task.tolist()]
    better = np.select(
        [asked.choice == LEFT, asked.choice == RIGHT, asked.choice != UNKNOWN], [asked.left, asked.right, -asked.choice]
    )
    right = np.array(
        [
            one.better == said if choice != UNKNOWN else abs(one.overall - mark) <= NEAR
            for one, said, choice, mark in zip(wanted, better, asked.choice, asked.overall, strict=True)
        ],
        np.bool_,
    )
    gold: Bools = np.array([one.gold for one in wanted], np.bool_)
    return shares_by(who[~gold], right[~gold], people), shares_by(who[gold], right[gold], people)


def _shared(labels: Columns) -> Bools:
    """Of tasks that somebody else judged, too."""
    found: Bools = np.bincount(labels.task)[labels.task] > 1 if len(labels) else np.zeros(0, np.bool_)
    return found


def _accuracies(labels: Columns, person: Ints, people: int) -> list[Figure]:
    shared = _shared(labels)
    labels, person = labels.only(shared), person[shared]
    if not len(labels):
        return [NOTHING] * people
    _, items = np.unique(labels.task, return_inverse=True)
    outcome = _outcome(labels, labels.choice)
    found = dawid_skene(items, person, outcome, (int(items.max()) + 1, people, OUTCOMES), rounds=ROUNDS)
    return accuracies(items, person, outcome, found)


def _discriminations(labels: Columns, person: Ints, people: int) -> list[Figure]:
    met = labels.left_contender != labels.right_contender
    labels, person = labels.only(met), person[met]
    if not len(labels):
        return [NOTHING] * people
    ids, place = np.unique(np.concatenate([labels.left_contender, labels.right_contender]), return_inverse=True)
    won = np.select([labels.choice == LEFT, labels.choice == RIGHT], [1.0, 0.0], 0.5)
    return discriminations(Judged(place[: len(labels)], place[len(labels) :], won, person), len(ids), people)[0]


def _leniency(labels: Columns, person: Ints, people: int) -> list[Figure]:
    shared = _shared(labels)
    labels, person = labels.only(shared), person[shared]
    _, items = np.unique(labels.task, return_inverse=True)
    total, came = np.bincount(items, labels.overall), np.bincount(items)
    others: Floats = (total[items] - labels.overall) / (came[items] - 1)
    return means_by(person, labels.overall - others, people)
