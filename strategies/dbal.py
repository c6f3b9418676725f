"""DBAL: a batch that is informative and diverse."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.random import Generator
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from strategies.candidates import Candidates, CandidatesError, FloatArray, IntArray, most_uncertain


def select_dbal(candidates: Candidates, k: int, rng: Generator, *, beta: float = 2.0) -> IntArray:
    """Pick k informative and diverse images; indices into `candidates`, most uncertain first.

    The beta * k candidates with the largest uncertainty are clustered into k clusters, weighted by
    uncertainty; each centre takes the nearest candidate that no centre has taken. All-zero weights
    become equal weights. beta is 2 in Eversberg & Lambrecht 2024 and 10 in Zhdanov 2019; beta = 1
    is plain uncertainty sampling.

    Cost: O(n log n) to pre-filter, O(beta k^2 d) per KMeans iteration; O(beta k d) memory.
    Source: Zhdanov 2019, Algorithm 1; Eversberg & Lambrecht 2024, Algorithm 2.
    """
    if beta < 1:
        raise CandidatesError(f"beta must be >= 1, got {beta:g}")
    top = most_uncertain(candidates, ceil(beta * k))
    if len(top) <= k:
        return top
    return top[cluster_representatives(candidates.embeddings[top], candidates.uncertainty[top], k, rng)]


def cluster_representatives(points: FloatArray, weights: FloatArray, k: int, rng: Generator) -> IntArray:
    """Return k distinct indices, ascending: the point nearest to each centre of a weighted KMeans.

    points: (n, d) with n >= k; weights: (n,) >= 0. Repeated points give fewer centres than k: the
    first of the rest fill up.
    """
    taken = nearest_distinct(points, weighted_kmeans(points, weights, k, rng))
    rest = np.setdiff1d(np.arange(len(points)), taken)[: k - len(taken)]
    return np.sort(np.concatenate([taken, rest])).astype(np.int64)


def weighted_kmeans(points: FloatArray, weights: FloatArray, k: int, rng: Generator) -> FloatArray:
    """Return the centres, shape (k, d), of KMeans with weighted points and weighted k-means++ seeding.

    points: (n, d) with n >= k; weights: (n,) >= 0. With k or fewer distinct points these are the centres.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) <= k:
        return distinct
    if not weights.any():
        weights = np.ones_like(weights)
    seed = int(rng.integers(2**31))
    # A candidate the model is sure of weighs nothing, yet k-means++ needs k points with weight.
    if np.count_nonzero(weights) < k:
        weights = np.maximum(weights, weights[weights > 0].min() * 1e-6)
    model = KMeans(n_clusters=k, init="k-means++", n_init=1, random_state=seed)
    centres: FloatArray = model.fit(points, sample_weight=weights).cluster_centers_.astype(np.float64)
    return centres


def nearest_distinct(points: FloatArray, centres: FloatArray) -> IntArray:
    """Give each centre the nearest point not yet taken; closest pairs first, ties by point order.

    points: (n, d), centres: (m, d) with m <= n. Returns (m,) distinct indices into points.
    """
    distance = pairwise_distances(centres, points)
    free_centres = np.ones(len(centres), dtype=bool)
    free_points = np.ones(len(points), dtype=bool)
    picked: list[int] = []
    for flat in np.argsort(distance, axis=None, kind="stable"):
        centre, point = divmod(int(flat), len(points))
        if free_centres[centre] and free_points[point]:
            free_centres[centre] = False
            free_points[point] = False
            picked.append(point)
            if len(picked) == len(centres):
                break
    return np.asarray(picked, dtype=np.int64)
