"""Clusters of embeddings, and strategies that take one image of each."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates
from strategies.rows import FloatArray, IntArray, Rows, Table, blocks

#: Clusters of more points than this are found on a sample of so many, drawn at random.
SAMPLE = 20_000
#: typiclust: neighbours that make a point typical, smallest cluster that counts, most clusters there may be.
NEIGHBOURS, SMALLEST, MOST_CLUSTERS = 20, 5, 500


def select_kmeans(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images spread over the embeddings, whatever their uncertainty.

    KMeans with equal weights into k clusters, then the nearest distinct candidate of each centre; repeated
    embeddings are filled up in the order of their ids. Centres of more than SAMPLE candidates are those of a
    random sample.
    Cost: O(min(n, SAMPLE) k d) per iteration, O(n k d) to find the nearest; O(n + (SAMPLE + k²) d) memory.
    Source: Zhdanov 2019, Algorithm 1, with equal weights and all candidates.
    """
    order = candidates.order
    if len(order) <= k:
        return order
    points = candidates.embeddings if candidates.in_order else Rows.of(candidates.embeddings, order)
    if len(order) <= SAMPLE:
        return order[cluster_representatives(points[:], np.ones(len(order)), k, rng)]
    sample = np.sort(rng.choice(len(order), SAMPLE, replace=False))
    centres = weighted_kmeans(points[sample], np.ones(SAMPLE), k, rng)
    near = _nearest_few(points, centres, k)
    taken = near[nearest_distinct(points[near], centres)]
    rest = np.setdiff1d(np.arange(min(len(order), 2 * k)), taken)[: k - len(taken)]
    return np.asarray(order[np.sort(np.concatenate([taken, rest]))])


def select_typiclust(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick the most typical image of each of the largest clusters without labelled images.

    Labelled images and candidates are clustered together into min(l + k, MOST_CLUSTERS) clusters. Again and
    again the cluster with the fewest labelled or picked images, of these the largest, gives its candidate of
    the highest
    typicality: 1 / mean distance to its NEIGHBOURS nearest in the cluster. Clusters below SMALLEST come last.

    Cost: O(n (l + k) d) per KMeans iteration, O(n² d / clusters) for the neighbours; O((n + l) d) memory,
    four times the embeddings in double precision.
    Source: Hacohen, Dekel & Weinshall 2022, Algorithm 1 (TPC_RP).
    """
    order = candidates.order
    if len(order) <= k:
        return order
    pool = candidates.embeddings[order].astype(np.float64)
    known = (
        np.zeros((0, pool.shape[1]))
        if candidates.labelled is None
        else candidates.labelled.astype(np.float64)
    )
    points = np.concatenate([pool, known])
    count = min(len(known) + k, MOST_CLUSTERS)
    centres = weighted_kmeans(points, np.ones(len(points)), count, rng)
    cluster = nearest_centre(points, centres)
    left = {c: _by_typicality(points, np.flatnonzero(cluster == c), len(pool)) for c in range(len(centres))}
    covered = np.bincount(cluster[len(pool) :], minlength=len(centres))
    sizes = np.bincount(cluster, minlength=len(centres))
    picked: list[int] = []
    while len(picked) < k:
        open_ones = [c for c in left if left[c]]
        best = min(open_ones, key=lambda c: (sizes[c] < SMALLEST, covered[c], -sizes[c], c))
        picked.append(left[best].pop(0))
        covered[best] += 1
    return np.asarray(order[picked])


def _by_typicality(points: FloatArray, members: IntArray, candidates: int) -> list[int]:
    """The candidates (below `candidates`) of a cluster, the most typical first."""
    if len(members) < 2:
        return [int(i) for i in members if i < candidates]
    from sklearn.neighbors import (
        NearestNeighbors,  # a second to import: not for commands that only name strategies
    )

    count = min(NEIGHBOURS, len(members) - 1)
    distances, _ = NearestNeighbors(n_neighbors=count + 1).fit(points[members]).kneighbors(points[members])
    mean = distances[:, 1:].mean(axis=1)
    return [int(members[i]) for i in np.argsort(mean, kind="stable") if members[i] < candidates]


def cluster_representatives(points: Table, weights: FloatArray, k: int, rng: Generator) -> IntArray:
    """Return k distinct indices, ascending: the point nearest to each centre of a weighted KMeans.

    points: (n, d) with n >= k; weights: (n,) >= 0. Repeated points give fewer centres than k: the
    first of the rest fill up.
    """
    taken = nearest_distinct(points, weighted_kmeans(points, weights, k, rng))
    rest = np.setdiff1d(np.arange(len(points)), taken)[: k - len(taken)]
    return np.sort(np.concatenate([taken, rest])).astype(np.int64)


def weighted_kmeans(points: Table, weights: FloatArray, k: int, rng: Generator) -> FloatArray:
    """Return the centres, shape (k, d), of KMeans with weighted points and weighted k-means++ seeding.

    points: (n, d) with n >= k; weights: (n,) >= 0. With k or fewer distinct points these are the centres.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    distinct = np.unique(points[: 64 * k], axis=0)  # the first few tell that there are enough
    if len(distinct) <= k:
        distinct = np.unique(points, axis=0)
    if len(distinct) <= k:
        return np.asarray(distinct, dtype=np.float64)
    if not weights.any():
        weights = np.ones_like(weights)
    seed = int(rng.integers(2**31))
    # A candidate the model is sure of weighs nothing, yet k-means++ needs k points with weight.
    if np.count_nonzero(weights) < k:
        weights = np.maximum(weights, weights[weights > 0].min() * 1e-6)
    model = KMeans(n_clusters=k, init="k-means++", n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Points a rounding apart are distinct to numpy and one to KMeans, which then has fewer clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, sample_weight=weights)
    return np.asarray(model.cluster_centers_, dtype=np.float64)


def nearest_centre(points: Table, centres: FloatArray) -> IntArray:
    """(n,) the centre nearest to each point; in blocks, O(n) memory."""
    from sklearn.metrics import pairwise_distances

    nearest = np.empty(len(points), np.int64)
    step = max(1, 2**22 // max(len(centres), centres.shape[1], 1))
    for start, block in blocks(points, step):
        nearest[start : start + len(block)] = pairwise_distances(block, centres).argmin(axis=1)
    return nearest


def nearest_distinct(points: Table, centres: FloatArray) -> IntArray:
    """Give each centre the nearest point not yet taken; closest pairs first, ties by point order.

    points: (n, d), centres: (m, d) with m <= n. Returns (m,) distinct indices into points.
    """
    from sklearn.metrics import pairwise_distances

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


def _nearest_few(points: Table, centres: FloatArray, count: int) -> IntArray:
    """Indices, ascending, of the `count` points nearest to each centre: whoever takes them, one is left for each."""
    c = centres.astype(np.float32)
    step = max(1, 2**22 // max(len(c), points.shape[1]))
    best = np.zeros((len(c), 0), np.float32)
    at = np.zeros((len(c), 0), np.int64)
    for start in range(0, len(points), step):
        part = points[start : start + step].astype(np.float32, copy=False)
        # |x - c|² without |c|², which is the same for all points of a centre.
        distances = (np.einsum("ij,ij->i", part, part)[:, None] - 2 * (part @ c.T)).T
        best = np.concatenate([best, distances], axis=1)
        at = np.concatenate(
            [at, np.broadcast_to(np.arange(start, start + len(part)), distances.shape)], axis=1
        )
        if best.shape[1] > count:
            smallest = np.argpartition(best, count - 1, axis=1)[:, :count]
            best, at = np.take_along_axis(best, smallest, axis=1), np.take_along_axis(at, smallest, axis=1)
    return np.unique(at)
