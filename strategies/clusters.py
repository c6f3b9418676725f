"""Clusters of embeddings, and strategies that pick one image of each."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates
from strategies.rows import FloatArray, IntArray, Rows, Table, blocks

#: Larger pools are clustered on a random sample of this size.
SAMPLE = 20_000
#: Typical images of a larger pool are picked from a random sample of this size, where others decide.
TYPICAL = 10_000
#: typiclust: neighbours for typicality, size of the smallest proper cluster, largest number of clusters.
NEIGHBOURS, SMALLEST, MOST_CLUSTERS = 20, 5, 500


def select_kmeans(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images spread over the embeddings, whatever their uncertainty.

    KMeans with equal weights into k clusters, on a random sample of SAMPLE candidates if there are more; then
    the nearest distinct candidate of each centre. If repeated embeddings give fewer centres, the rest is
    filled up in the order of the ids.
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
    return order[_filled_up(near[nearest_distinct(points[near], centres)], len(order), k)]


def select_typiclust(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick the most typical image of each of the largest clusters without labelled images.

    Labelled images and candidates are clustered together into min(l + k, MOST_CLUSTERS) clusters. Each pick
    comes from the cluster with the fewest labelled or picked images, of these the largest; clusters below
    SMALLEST come last. It is the candidate of highest typicality: 1 / mean distance to its NEIGHBOURS nearest
    in the cluster.

    Cost: O(n (l + k) d) per KMeans iteration, O(n² d / clusters) for the neighbours; O((n + l) d) memory,
    four times the embeddings in double precision.
    Source: Hacohen, Dekel & Weinshall 2022, Algorithm 1 (TPC_RP).
    """
    order = candidates.order
    if len(order) <= k:
        return order
    points = with_labelled(candidates, order)
    count = min(len(points) - len(order) + k, MOST_CLUSTERS)
    centres = weighted_kmeans(points, np.ones(len(points)), count, rng)
    cluster = nearest_centre(points, centres)
    left = {c: _by_typicality(points, np.flatnonzero(cluster == c), len(order)) for c in range(len(centres))}
    covered = np.bincount(cluster[len(order) :], minlength=len(centres))
    sizes = np.bincount(cluster, minlength=len(centres))
    picked: list[int] = []
    while len(picked) < k:
        open_ones = [c for c in left if left[c]]
        best = min(open_ones, key=lambda c: (sizes[c] < SMALLEST, covered[c], -sizes[c], c))
        picked.append(left[best].pop(0))
        covered[best] += 1
    return np.asarray(order[picked])


def select_typical(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick as `select_typiclust`, from a random sample of a pool of more than TYPICAL candidates."""
    if len(candidates) <= max(TYPICAL, k):
        return select_typiclust(candidates, k, rng)
    part = np.sort(candidates.order[rng.choice(len(candidates), max(TYPICAL, k), replace=False)])
    return part[select_typiclust(candidates.subset(part), k, rng)]


def clusters_with_labelled(
    candidates: Candidates, order: IntArray, k: int, rng: Generator
) -> tuple[IntArray, IntArray]:
    """Return which of at most k clusters each candidate is in, and the labelled images of each cluster.

    order: of the candidates, which are clustered together with the labelled images.
    """
    points = with_labelled(candidates, order)
    centres = weighted_kmeans(points, np.ones(len(points)), k, rng)
    cluster = nearest_centre(points, centres)
    return cluster[: len(order)], np.bincount(cluster[len(order) :], minlength=len(centres))


def with_labelled(candidates: Candidates, order: IntArray) -> FloatArray:
    """Return embeddings of candidates in this order, then those of all labelled images, in float64."""
    points = candidates.embeddings[order].astype(np.float64)
    return points if candidates.labelled is None else np.concatenate([points, candidates.labelled])


def _by_typicality(points: FloatArray, members: IntArray, candidates: int) -> list[int]:
    """Return the candidates (below `candidates`) of a cluster, the most typical first."""
    if len(members) < 2:
        return [int(i) for i in members if i < candidates]
    # Imported here, as it takes a second: commands that only name strategies start without it.
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(members) - 1)
    distances, _ = NearestNeighbors(n_neighbors=count + 1).fit(points[members]).kneighbors(points[members])
    mean = distances[:, 1:].mean(axis=1)
    return [int(members[i]) for i in np.argsort(mean, kind="stable") if members[i] < candidates]


def cluster_representatives(points: Table, weights: FloatArray, k: int, rng: Generator) -> IntArray:
    """Return k distinct indices, ascending: the point nearest to each centre of a weighted KMeans.

    points: (n, d) with n >= k; weights: (n,) >= 0. If repeated points give fewer centres than k, the first
    other points fill up.
    """
    return _filled_up(nearest_distinct(points, weighted_kmeans(points, weights, k, rng)), len(points), k)


def _filled_up(picks: IntArray, count: int, k: int) -> IntArray:
    """Return k of `count` indices, ascending: the picks, and the first others."""
    rest = np.setdiff1d(np.arange(min(count, 2 * k)), picks)[: k - len(picks)]
    return np.sort(np.concatenate([picks, rest])).astype(np.int64)


def weighted_kmeans(points: Table, weights: FloatArray, k: int, rng: Generator) -> FloatArray:
    """Return the centres, shape (k, d), of KMeans with weighted points and weighted k-means++ seeding.

    points: (n, d) with n >= k; weights: (n,) >= 0. With k or fewer distinct points these are the centres.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    distinct = np.unique(points[: 64 * k], axis=0)  # mostly the first few are enough to know
    if len(distinct) <= k:
        distinct = np.unique(points, axis=0)
    if len(distinct) <= k:
        return np.asarray(distinct, dtype=np.float64)
    if not weights.any():
        weights = np.ones_like(weights)
    seed = int(rng.integers(2**31))
    # k-means++ needs k points with a weight above 0, which certain candidates do not have.
    if np.count_nonzero(weights) < k:
        weights = np.maximum(weights, weights[weights > 0].min() * 1e-6)
    model = KMeans(n_clusters=k, init="k-means++", n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Points that differ by rounding are distinct for NumPy, and one for KMeans: it finds fewer clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, sample_weight=weights)
    return np.asarray(model.cluster_centers_, dtype=np.float64)


def nearest_centre(points: Table, centres: FloatArray) -> IntArray:
    """Return the centre nearest to each point, (n,); in blocks, O(n) memory."""
    from sklearn.metrics import pairwise_distances

    nearest = np.empty(len(points), np.int64)
    step = max(1, 2**22 // max(len(centres), centres.shape[1], 1))
    for start, block in blocks(points, step):
        nearest[start : start + len(block)] = pairwise_distances(block, centres).argmin(axis=1)
    return nearest


def nearest_distinct(points: Table, centres: FloatArray) -> IntArray:
    """Assign to each centre the nearest free point, closest pairs first, ties by point order.

    points: (n, d), centres: (m, d) with m <= n. Returns (m,) distinct indices into points, in that order.
    """
    from sklearn.metrics import pairwise_distances

    distance = pairwise_distances(centres, points)
    taken = np.zeros(len(points), dtype=bool)
    points_of: dict[int, int] = {}
    for flat in np.argsort(distance, axis=None, kind="stable"):
        centre, point = divmod(int(flat), len(points))
        if centre not in points_of and not taken[point]:
            points_of[centre] = point
            taken[point] = True
            if len(points_of) == len(centres):
                break
    return np.asarray([*points_of.values()], dtype=np.int64)


def _nearest_few(points: Table, centres: FloatArray, count: int) -> IntArray:
    """Return the `count` points nearest to each centre, ascending: enough for `count` centres."""
    c = centres.astype(np.float32)
    step = max(1, 2**22 // max(len(c), points.shape[1]))
    best = np.zeros((len(c), 0), np.float32)
    at = np.zeros((len(c), 0), np.int64)
    for start in range(0, len(points), step):
        part = points[start : start + step].astype(np.float32, copy=False)
        # |x - c|² - |c|²: |c|² does not change the order.
        distances = (np.einsum("ij,ij->i", part, part)[:, None] - 2 * (part @ c.T)).T
        indices = np.broadcast_to(np.arange(start, start + len(part)), distances.shape)
        best, at = np.concatenate([best, distances], axis=1), np.concatenate([at, indices], axis=1)
        if best.shape[1] > count:
            smallest = np.argpartition(best, count - 1, axis=1)[:, :count]
            best, at = np.take_along_axis(best, smallest, axis=1), np.take_along_axis(at, smallest, axis=1)
    return np.unique(at)
