"""Dawid-Skene as crowd-kit has it, better than the majority where people differ in skill, and nobody judged by themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene

from app.quality.measures.by_person import Ints
from app.quality.measures.dawid_skene import accuracies, dawid_skene

SKILLS = (0.95, 0.95, 0.9, 0.5, 0.5, 0.5, 0.5)  # of two values: the last four guess


def crowd(seed: int, items: int = 300) -> tuple[Ints, Ints, Ints, Ints]:
    """Truths, and five of seven people's verdicts on each."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 2, items)
    item, person = np.nonzero(np.argsort(draw.random((items, len(SKILLS))), axis=1) < 5)
    right = draw.random(len(item)) < np.array(SKILLS)[person]
    return truth, item, person, np.where(right, truth[item], 1 - truth[item])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # crowd-kit's use of pandas
@pytest.mark.parametrize("seed", range(2))
def test_it_is_what_crowd_kit_finds(seed: int) -> None:
    _, item, person, value = crowd(seed)
    ours = dawid_skene(item, person, value, (300, len(SKILLS), 2), rounds=8, tolerance=-1.0)
    frame = pd.DataFrame({"task": item, "worker": person, "label": value})
    theirs = DawidSkene(n_iter=8, tol=-1.0).fit(frame)
    assert ours.labels.tolist() == theirs.labels_.sort_index().tolist()
    np.testing.assert_allclose(ours.items, theirs.probas_.sort_index().sort_index(axis=1).to_numpy(), atol=1e-6)


def test_it_knows_better_than_the_majority() -> None:
    truth, item, person, value = crowd(4)
    found = dawid_skene(item, person, value, (300, len(SKILLS), 2)).labels
    majority = (np.bincount(item, weights=value) > 2.5).astype(np.int64)
    assert (found == truth).mean() > (majority == truth).mean() + 0.03


def test_a_persons_accuracy_is_told_by_the_others() -> None:
    _, item, person, value = crowd(5, 2000)
    found = accuracies(item, person, value, dawid_skene(item, person, value, (2000, len(SKILLS), 2)))
    for number, (skill, figure) in enumerate(zip(SKILLS, found, strict=True)):
        assert figure.value == pytest.approx(skill, abs=0.05)
        assert figure.n == (person == number).sum()


def test_its_interval_has_the_truth_most_times() -> None:
    had = []
    for seed in range(20):
        _, item, person, value = crowd(seed, 600)
        found = accuracies(item, person, value, dawid_skene(item, person, value, (600, len(SKILLS), 2)))
        had += [one.low <= skill <= one.high for one, skill in zip(found, SKILLS, strict=True) if one.low and one.high]
    assert np.mean(had) > 0.85  # a little less than .95: the truth of an item is itself found by these tables


def test_who_said_nothing_has_no_accuracy() -> None:
    item, person, value = np.array([0, 0]), np.array([0, 2]), np.array([1, 1])
    found = accuracies(item, person, value, dawid_skene(item, person, value, (1, 3, 2)))
    assert [one.n for one in found] == [1, 0, 1]
    assert found[1].value is None
