"""PPAL: images that are uncertain in difficult classes, and show different objects."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, Detections, largest, needed
from strategies.rows import AnyFloats, FloatArray, IntArray
from strategies.scores import entropies, per_image

#: Distance of a box to an image without a box of its class, as for opposite features.
_ABSENT = 2.0
_ROUNDS = 100


def difficulty(quality: AnyFloats, *, alpha: float = 0.3, beta: float = 0.2) -> FloatArray:
    """Return class weights (C,) in [1, 1 + beta]: w_c = 1 + alpha beta ln((e^(1/alpha) - 1)(1 - q_c) + 1).

    quality: (C,) q_c in [0, 1], a running mean of p^0.6 IoU^0.4 over the positives in training.
    Source: Yang, Huang & Crowley 2024 (PPAL), eq. 4.
    """
    return np.asarray(1 + alpha * beta * np.log((np.exp(1 / alpha) - 1) * (1 - quality) + 1))


def select_ppal(candidates: Candidates, k: int, rng: Generator, *, pool: float = 4.0) -> IntArray:
    """Pick k images, the medoids of the pool * k most uncertain ones.

    Uncertainty of an image: U = sum over its detections of w_c H(d), with `difficulty` and the entropy of the
    whole distribution. Distance of two images: `matching`; that of images with boxes to those without is 2.
    A cluster cannot be empty, since a medoid belongs to its cluster.

    Needs RoI features; without `class_quality` all classes have the same weight.
    Cost: O(m C) time for m detections, O(b² r) for the b detections of the pool; O(n + m + (pool k)²) memory.
    Source: Yang, Huang & Crowley 2024, Algorithm 1.
    """
    if pool < 1:
        raise CandidatesError(f"pool must be >= 1, got {pool:g}")
    detections = needed(candidates)
    quality = np.ones(detections.classes) if candidates.class_quality is None else candidates.class_quality
    weighted = entropies(detections.distributions) * difficulty(quality)[detections.labels]
    uncertainty = per_image(weighted, detections.offsets, "sum")
    top = largest(uncertainty, candidates.rank, int(np.ceil(pool * k)))
    if len(top) <= k:
        return top
    chosen = medoids(matching(detections.subset(top)), k, rng)
    return top[chosen]


def matching(detections: Detections) -> FloatArray:
    """Return the distances of images by their objects, (n, n) in [0, 2], symmetric, 0 on the diagonal.

    D(i -> j) = sum_d s_d min over j's boxes of d's class of (1 - cos(f_d, f_e)) / sum_d s_d over i's boxes d,
    2 where j has none of the class; the mean of both directions. Two images without boxes have distance 0.
    """
    n = len(detections)
    features = detections.features.astype(np.float64)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    some = np.flatnonzero(detections.counts)
    one_way = np.full((n, n), _ABSENT)
    empty = np.setdiff1d(np.arange(n), some)
    one_way[np.ix_(empty, empty)] = 0.0
    starts = detections.offsets[some]
    for i in some:
        rows = detections.of(i)
        distances = 1 - features[rows] @ features.T
        distances[detections.labels[rows][:, None] != detections.labels[None]] = _ABSENT
        least = np.minimum.reduceat(distances, starts, axis=1)
        weights = detections.scores[rows].astype(np.float64)
        one_way[i, some] = weights @ least / max(float(weights.sum()), 1e-12)
    both = (one_way + one_way.T) / 2
    np.fill_diagonal(both, 0.0)
    return np.asarray(np.clip(both, 0.0, 2.0))


def medoids(distance: FloatArray, k: int, rng: Generator) -> IntArray:
    """Return k medoids of n > k points, ascending, by alternating assignment and update until convergence.

    distance: (n, n). Seeded as k-means++; where all other points are at distance 0 of a medoid, by index.
    """
    n = len(distance)
    chosen = [int(rng.integers(n))]
    while len(chosen) < k:
        weight = distance[:, chosen].min(axis=1) ** 2
        weight[chosen] = 0.0
        if weight.sum() > 0:
            chosen.append(int(rng.choice(n, p=weight / weight.sum())))
        else:
            chosen.append(int(np.setdiff1d(np.arange(n), chosen)[0]))
    centres = np.sort(np.asarray(chosen))
    for _ in range(_ROUNDS):
        cluster = distance[:, centres].argmin(axis=1)
        cluster[centres] = np.arange(k)  # also where another medoid is at distance 0
        moved = centres.copy()
        for c in range(k):
            members = np.flatnonzero(cluster == c)
            moved[c] = members[distance[np.ix_(members, members)].sum(axis=1).argmin()]
        moved.sort()
        if (moved == centres).all():
            break
        centres = moved
    return np.asarray(centres, dtype=np.int64)
