"""Coverage: uncertain objects that labels cover little; typical images while the detector predicts counts badly."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, most_uncertain, needed
from strategies.clusters import nearest_centre, select_typiclust, weighted_kmeans
from strategies.objects import objects
from strategies.rows import FloatArray, IntArray
from strategies.scores import margins

#: Pools larger than this, and than this many times k, are cut to the most uncertain.
_POOL, _POOL_PER_K = 2000, 40
#: Least count R² from which sums over boxes are trusted.
MIN_COUNT_R2 = 0.5
#: Of more candidates, a random sample of this size says what is typical.
_TYPICAL = 10_000
#: Mass of an image in its cluster, without any box: images without detections are spread over the clusters.
_IMAGE_MASS = 0.01


def select_coverage(
    candidates: Candidates, k: int, rng: Generator, *, cluster_weight: float = 0.3
) -> IntArray:
    """Pick k images whose uncertain objects labels cover least; typical images while count R² is below a half.

    A sum over the boxes of an image depends on their number. `count_r2` is the share of the variance of the
    number of objects per labelled image that the boxes explain. Below MIN_COUNT_R2, or where it is not known,
    the picks are those of `typiclust`. It was 0.95 for a model trained on rendered dice and 0.25 for one
    trained on rendered steel; on steel a sum of margins did worse than random (docs/results).

    Otherwise every object d of an image (`strategies.objects`: overlapping boxes once) adds s(d) p_c(d) to
    class c: its margin score, shared out by its distribution, so that background adds little. With m_c(x) the
    sum over the objects of x, and v(x) the cluster of its embedding, one of k, the value of a set S of images
    is

        f(S) = Σ_c √(N_c + Σ_{x in S} m_c(x)) + cluster_weight · Σ_v √(N_v + Σ_{x in S, v(x) = v} Σ_c m_c(x))

    where N_c is the number of labelled boxes of class c, and N_v that of the labelled images in cluster v,
    times their mean number of boxes. The root gives diminishing returns: for classes and clusters that labels
    cover already, and within a batch. f is monotone submodular, so that greedy selection is within 1 − 1/e of
    the best set (Nemhauser, Wolsey & Fisher 1978). cluster_weight = 0 leaves the embeddings out. At 0.3 the
    picks have as many boxes as those of `dbal`, spread nearly as far over the embeddings; 1 gave up a fifth
    of the boxes for little more spread.

    Needs `labelled` and `count_r2`; without `labelled_classes` no box counts as labelled. Of pools above
    max(2000, 40 k) images, only the most uncertain are ranked; of more than 10,000, a random sample says what
    is typical. Ties by id.
    Cost: O(n) to cut the pool, O(b²) for an image of b boxes, O(p k d) per KMeans iteration and O(p) for each
    gain computed, p = max(2000, 40 k), and the cost of `typiclust` for 10,000; O(n + p (C + d)) memory.
    Source: the objective is a feature-based submodular function (Wei, Iyer & Bilmes 2015, "Submodularity in
    Data Subset Selection and Active Learning"); greedy with lazy gains, Minoux 1978. Uncertainty: Eversberg &
    Lambrecht 2024, eq. 1. Typical images help where little is learnt: Hacohen, Dekel & Weinshall 2022.
    """
    if cluster_weight < 0:
        raise CandidatesError(f"cluster_weight must be >= 0, got {cluster_weight:g}")
    needed(candidates)
    if len(candidates) <= k:
        return candidates.order
    if candidates.count_r2 is None or candidates.count_r2 < MIN_COUNT_R2:
        return _typical(candidates, k, rng)
    top = np.sort(most_uncertain(candidates, max(_POOL, _POOL_PER_K * k)))
    order = top[np.argsort(candidates.rank[top])]
    mass = class_mass(candidates.subset(order))
    class_boxes, cluster, labelled = _clusters(candidates, order, mass.shape[1], k, rng)
    # One column for every class and every cluster; an image has mass in all classes and in one cluster.
    cluster_mass = mass.sum(axis=1) + _IMAGE_MASS
    columns = np.concatenate([class_boxes, labelled])
    weights = np.concatenate([np.ones(len(class_boxes)), np.full(len(labelled), cluster_weight)])
    parts = np.zeros((len(order), len(columns)))
    parts[:, : len(class_boxes)] = mass
    parts[np.arange(len(order)), len(class_boxes) + cluster] = cluster_mass
    return order[greedy(parts, columns, weights, k)]


def _typical(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick as `typiclust` does; of a large pool from a random sample."""
    if len(candidates) <= max(_TYPICAL, k):
        return select_typiclust(candidates, k, rng)
    part = np.sort(candidates.order[rng.choice(len(candidates), max(_TYPICAL, k), replace=False)])
    return part[select_typiclust(candidates.subset(part), k, rng)]


def class_mass(candidates: Candidates) -> FloatArray:
    """(n, C): m_c(x), the margin scores of each image's objects, shared out by class; background gets nothing."""
    detections = needed(candidates)
    rows = objects(detections)
    shares = detections.distributions[rows].astype(np.float64)
    mass = np.zeros((len(detections), detections.classes))
    np.add.at(mass, detections.image[rows], margins(shares)[:, None] * shares[:, :-1])
    return mass


def greedy(parts: FloatArray, base: FloatArray, weights: FloatArray, k: int) -> IntArray:
    """Return k rows, each the one that adds most to Σ_j w_j √(base_j + sum of the picked parts_j); ties by row.

    parts: (n, j) and base: (j,), all >= 0.  weights: (j,) >= 0. Gains only shrink, so one that was computed
    before is an upper bound: only the greatest of these are computed again.
    """
    total = base.astype(np.float64)
    bounds = (np.sqrt(total + parts) - np.sqrt(total)) @ weights
    picked: list[int] = []
    while len(picked) < k:
        best = int(bounds.argmax())
        gain = float((np.sqrt(total + parts[best]) - np.sqrt(total)) @ weights)
        bounds[best] = min(gain, bounds[best])
        if int(bounds.argmax()) == best:
            picked.append(best)
            total = total + parts[best]
            bounds[best] = -np.inf
    return np.asarray(picked, dtype=np.int64)


def _clusters(
    candidates: Candidates, order: IntArray, classes: int, k: int, rng: Generator
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Labelled boxes of each class, the cluster of each candidate, and labelled boxes in each cluster."""
    class_boxes = np.zeros(classes) if candidates.labelled_classes is None else candidates.labelled_classes
    points = candidates.embeddings[order].astype(np.float64)
    labelled = (
        np.zeros((0, points.shape[1]))
        if candidates.labelled is None
        else candidates.labelled.astype(np.float64)
    )
    every = np.concatenate([points, labelled])
    centres = weighted_kmeans(every, np.ones(len(every)), k, rng)
    cluster = nearest_centre(every, centres)
    images = np.bincount(cluster[len(points) :], minlength=len(centres))
    boxes = float(class_boxes.sum()) / max(1, len(labelled))
    return np.asarray(class_boxes, np.float64), cluster[: len(points)], images * boxes
