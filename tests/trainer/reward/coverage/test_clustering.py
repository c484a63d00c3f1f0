"""Prompts into clusters: planted ones are found, silhouettes are those of the reference, and it costs next to nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from trainer.reward.coverage.clustering import clustered, silhouette


def planted(count: int, kinds: int, width: int = 96, seed: int = 1) -> tuple[Tensor, list[int]]:
    """States of so many kinds of prompts, unlike in size, with one dimension that drowns the others."""
    draw = torch.Generator().manual_seed(seed)
    middles = torch.randn(kinds, width, generator=draw) * 2
    kind = [min(kinds - 1, int((at / count) ** 1.5 * kinds)) for at in range(count)]
    states = middles[kind] + torch.randn(count, width, generator=draw)
    states[:, 7] = 500 * torch.randn(count, generator=draw)
    return states, kind


def alike(kind: list[int], place: list[int]) -> float:
    """The share of points that are in the cluster of most of their kind, where no two kinds share one."""
    where = {one: Counter(at for of, at in zip(kind, place, strict=True) if of == one).most_common(1)[0] for one in set(kind)}
    assert len({at for at, _ in where.values()}) == len(where)
    return sum(count for _, count in where.values()) / len(kind)


def silhouette_by_hand(points: list[list[float]], place: list[int]) -> float:
    """As Rousseeuw has it, point by point."""
    worth = []
    for mine, one in zip(place, points, strict=True):
        apart: dict[int, list[float]] = {}
        for theirs, other in zip(place, points, strict=True):
            if other is not one:
                apart.setdefault(theirs, []).append(math.dist(one, other))
        if mine not in apart:
            worth.append(0.0)
            continue
        own = fmean(apart.pop(mine))
        nearest = min(fmean(each) for each in apart.values())
        worth.append((nearest - own) / max(nearest, own))
    return fmean(worth)


@pytest.mark.parametrize("kinds", [4, 6, 9])
def test_planted_clusters_are_found_and_how_many_there_are(kinds: int) -> None:
    states, kind = planted(300, kinds)

    found = clustered(states)

    assert max(found.place) + 1 == kinds == max(found.silhouettes, key=lambda count: found.silhouettes[count])
    assert alike(kind, found.place.tolist()) > 0.98
    assert list(found.silhouettes) == list(range(4, 17))
    sizes = np.bincount(found.place).tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_the_same_states_give_the_same_clusters_whatever_was_drawn_before() -> None:
    states, _ = planted(120, 5)
    first = clustered(states)
    torch.rand(3)
    np.random.random(3)
    before = torch.get_rng_state()
    again = clustered(states)
    assert first.place.tolist() == again.place.tolist()
    assert first.distance.tolist() == again.distance.tolist()
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's numbers change


def test_the_distance_is_from_the_middle_of_the_own_cluster() -> None:
    """One in between two kinds is far from either middle."""
    states, kind = planted(200, 4)
    one, other = (states[[at for at, of in enumerate(kind) if of == wanted]].mean(0) for wanted in (1, 2))
    found = clustered(torch.cat([states, ((one + other) / 2)[None]]))
    assert found.distance[-1] > np.quantile(found.distance, 0.95)


def test_silhouettes_are_those_of_the_definition() -> None:
    draw = np.random.default_rng(3)
    points, place = draw.normal(size=(60, 3)), draw.integers(0, 5, 60)
    place[place == 3] = 2  # nothing is in cluster 3
    place[7] = 3  # but this one, alone
    assert silhouette(cdist(points, points), place) == pytest.approx(
        silhouette_by_hand(points.tolist(), place.tolist()), abs=1e-12
    )


def test_prompts_that_are_all_alike_are_one_cluster() -> None:
    found = clustered(torch.ones(25, 8))
    assert set(found.place.tolist()) == {0}
    assert found.distance.max() == 0


def test_few_prompts_make_few_clusters() -> None:
    states, _ = planted(27, 4)
    assert list(clustered(states).silhouettes) == [4, 5]


def test_five_thousand_prompts_take_seconds_of_one_core() -> None:
    """As many as a run is given, in states as wide as those of a model of a hundred million."""
    states, kind = planted(5_000, 8, width=576)
    began = time.process_time()
    found = clustered(states)
    assert time.process_time() - began < 5  # where it is alone a fraction of one
    assert alike(kind, found.place.tolist()) > 0.98
