"""What passes the gate of a reward, and what does not, in worlds that are made up: `bench/gates.py` with few of them."""

from __future__ import annotations

import pytest

from bench.gates import NOISE, World, covered, passes


@pytest.mark.parametrize("kind", NOISE)
def test_noise_seldom_passes(kind: str) -> None:
    worlds = (World(kind, seed, labels=100) for seed in range(300))
    assert sum(passes(world)[0] for world in worlds) <= 0.025 * 300


def test_noise_seldom_passes_however_often_it_asks() -> None:
    found = [passes(World("comparisons", seed, labels=180), looks=6) for seed in range(100)]
    assert sum(any(project) for project in found) <= 0.05 * 100


def test_two_hundred_labels_that_are_foretold_three_times_of_four_pass() -> None:
    assert all(passes(World("foretold", seed, labels=200, accuracy=0.75))[0] for seed in range(50))


@pytest.mark.parametrize(("prompts", "alike"), [(20, 1), (5, 4), (25, 4)])
def test_an_interval_has_the_accuracy_as_often_as_it_says(prompts: int, alike: int) -> None:
    assert sum(covered(seed, prompts, alike, 0.75) for seed in range(200)) >= 0.92 * 200
