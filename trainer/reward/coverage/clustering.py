"""Prompts into clusters by the base's hidden states, as many as are apart best. The same states give the same clusters.

States are put on one scale dimension by dimension (a few of a language model's are a hundred times the others), turned to the
32 directions in which they differ most, and brought to length 1, so that near means of like direction. There k-means finds from 4
to 16 clusters, beginning with those of Ward's tree, and those count that have the largest mean silhouette. Of many prompts 1,000
decide and the others join the nearest.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, ward
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial.distance import cdist
from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST: Final = 4  # clusters
MOST: Final = 16
PROMPTS_EACH: Final = 5  # at least, on average
DIMENSIONS: Final = 32
DECIDING: Final = 1_000  # prompts, each of which is compared with each
ROUNDS: Final = 30  # of k-means
SEED: Final = 0


class Clustered(NamedTuple):
    place: Ints  # (N,) which cluster, 0 the largest
    distance: Floats  # (N,) from its middle
    dimensions: int
    silhouettes: dict[int, float]  # by number of clusters


def clustered(states: Tensor) -> Clustered:
    """Clusters of (N, D) finite states, N at least FEWEST * PROMPTS_EACH."""
    points = directions(states)
    deciding = points[np.sort(np.random.default_rng(SEED).permutation(len(points))[:DECIDING])]
    apart, tree = cdist(deciding, deciding), ward(deciding)
    middles: dict[int, Floats] = {}
    silhouettes: dict[int, float] = {}
    for count in range(FEWEST, min(MOST, len(points) // PROMPTS_EACH) + 1):
        branches = fcluster(tree, count, "maxclust") - 1
        middles[count], place = _tightened(deciding, branches)
        silhouettes[count] = silhouette(apart, place)
    best = max(silhouettes, key=lambda count: silhouettes[count])  # of equals the fewest
    place, distance = vq(points, middles[best], check_finite=False)
    return Clustered(_largest_first(place), distance, points.shape[1], silhouettes)


def directions(states: Tensor) -> Floats:
    """(N, D) states -> (N, 32 at most) of length 1."""
    centred = states.float() - states.float().mean(0)
    scaled = centred / centred.std(0).clamp_min(1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        _, _, axes = torch.pca_lowrank(scaled, min(DIMENSIONS, *scaled.shape), center=False)
    turned = scaled @ axes
    found: Floats = torch.nn.functional.normalize(turned, dim=1).double().numpy()
    return found


def silhouette(apart: Floats, place: Ints) -> float:
    """How much nearer each point is to its own cluster than to the next, on average, from -1 to 1; a cluster of one counts 0.

    `apart`: (N, N) distances. Rousseeuw 1987, J. Comput. Appl. Math. 20, section 2.
    """
    members = np.eye(place.max() + 1)[place]  # (N, K)
    sizes = members.sum(0)
    present = sizes > 0
    if present.sum() < 2:
        return 0.0
    mine = members.astype(bool)
    sums = apart @ members  # (N, K)
    own = sums[mine] / np.maximum(sizes[place] - 1, 1)
    others = np.where(mine | ~present, np.inf, sums / np.maximum(sizes, 1)).min(1)
    larger = np.maximum(own, others)
    worth = np.divide(others - own, larger, out=np.zeros_like(own), where=(larger > 0) & (sizes[place] > 1))
    return float(worth.mean())


def _tightened(points: Floats, place: Ints) -> tuple[Floats, Ints]:
    """Middles (K, D) and the cluster of each point, once k-means has gone on from these clusters."""
    members = np.eye(place.max() + 1)[place]
    middles = members.T @ points / members.sum(0)[:, None]
    with warnings.catch_warnings(action="ignore"):  # that a cluster has lost all its points, which counts in the silhouette
        middles, place = kmeans2(points, middles, ROUNDS, minit="matrix", missing="warn", check_finite=False)
    return middles, place.astype(np.int64)


def _largest_first(place: Any) -> Ints:
    """The clusters numbered anew, without those that nothing is in."""
    numbers, at, sizes = np.unique(place, return_inverse=True, return_counts=True)
    rank = np.empty(len(numbers), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(numbers))
    found: Ints = rank[at]
    return found
