"""Coverage: uncertain objects that labels cover little; typical images for models that count badly."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, most_uncertain, needed
from strategies.clusters import clusters_with_labelled, select_typical
from strategies.objects import objects
from strategies.rows import FloatArray, IntArray
from strategies.scores import margins

#: Larger pools are cut to the max(_POOL, _POOL_PER_K k) most uncertain images.
_POOL, _POOL_PER_K = 2000, 40
#: Least count R² from which sums over boxes are used.
MIN_COUNT_R2 = 0.5
#: Mass that an image adds to its cluster without boxes, so that images without detections are spread, too.
_IMAGE_MASS = 0.01


def select_coverage(
    candidates: Candidates, k: int, rng: Generator, *, cluster_weight: float = 0.3
) -> IntArray:
    """Pick k images whose uncertain objects labels cover least; typical images while count R² is below 0.5.

    A sum over the boxes of an image depends on their number. `count_r2` says how well the detector predicts
    the number of objects. Below MIN_COUNT_R2, or if it is unknown, the picks are those of `typiclust`. It was
    0.95 for a model trained on rendered dice and 0.25 for one trained on rendered steel; on steel a sum of
    margins did worse than random (docs/results).

    Otherwise every object d of an image (`strategies.objects`) adds s(d) p_c(d) to class c: its margin score
    times its class probability, so that background adds little. With m_c(x) the sum over the objects of x,
    and v(x) one of k clusters of the embeddings, the value of a set S of images is

        f(S) = Σ_c √(N_c + Σ_{x in S} m_c(x)) + cluster_weight · Σ_v √(N_v + Σ_{x in S, v(x) = v} Σ_c m_c(x))

    where N_c is the number of labelled boxes of class c, and N_v that of labelled images in cluster v, times
    their mean number of boxes. The root gives diminishing returns: for classes and clusters that labels cover
    already, and within a batch. f is monotone submodular, so greedy selection is within 1 − 1/e of the best
    set (Nemhauser, Wolsey & Fisher 1978). cluster_weight = 0 leaves the embeddings out. At 0.3 the picks have
    as many boxes as those of `dbal`, spread nearly as far over the embeddings; 1 lost a fifth of the boxes
    for little more spread.

    Needs `labelled` and `count_r2`; without `labelled_classes` no boxes count as labelled. Only the
    p = max(2000, 40 k) most uncertain images are ranked. Ties by id.
    Cost: O(n) to cut the pool, O(b²) for an image of b boxes, O(p k d) per KMeans iteration and O(p) for each
    gain computed, and the cost of `typiclust` for 10,000 images; O(n + p (C + d)) memory.
    Source: the objective is a feature-based submodular function (Wei, Iyer & Bilmes 2015, "Submodularity in
    Data Subset Selection and Active Learning"); greedy with lazy gains: Minoux 1978. Uncertainty: Eversberg &
    Lambrecht 2024, eq. 1. Typical images for weak models: Hacohen, Dekel & Weinshall 2022.
    """
    if cluster_weight < 0:
        raise CandidatesError(f"cluster_weight must be >= 0, got {cluster_weight:g}")
    needed(candidates)
    if len(candidates) <= k:
        return candidates.order
    if candidates.count_r2 is None or candidates.count_r2 < MIN_COUNT_R2:
        return select_typical(candidates, k, rng)
    top = np.sort(most_uncertain(candidates, max(_POOL, _POOL_PER_K * k)))
    order = top[np.argsort(candidates.rank[top])]
    mass = class_mass(candidates.subset(order))
    class_boxes = candidates.class_boxes
    cluster, images = clusters_with_labelled(candidates, order, k, rng)
    labelled = images * (float(class_boxes.sum()) / max(1, int(images.sum())))
    # A column for every class and every cluster: an image has mass in all classes and in one cluster.
    cluster_mass = mass.sum(axis=1) + _IMAGE_MASS
    columns = np.concatenate([class_boxes, labelled])
    weights = np.concatenate([np.ones(len(class_boxes)), np.full(len(labelled), cluster_weight)])
    parts = np.zeros((len(order), len(columns)))
    parts[:, : len(class_boxes)] = mass
    parts[np.arange(len(order)), len(class_boxes) + cluster] = cluster_mass
    return order[greedy(parts, columns, weights, k)]


def class_mass(candidates: Candidates) -> FloatArray:
    """Return m_c(x), (n, C): the sum of margin score times class probability over each image's objects."""
    detections = needed(candidates)
    rows = objects(detections)
    shares = detections.distributions[rows].astype(np.float64)
    mass = np.zeros((len(detections), detections.classes))
    np.add.at(mass, detections.image[rows], margins(shares)[:, None] * shares[:, :-1])
    return mass


def greedy(
    parts: FloatArray, base: FloatArray, weights: FloatArray, k: int, costs: FloatArray | None = None
) -> IntArray:
    """Return k rows, each adding most to Σ_j w_j √(base_j + sum of the picked parts_j) for its cost.

    parts: (n, j), >= 0.
    base: (j,), >= 0.
    weights: (j,), >= 0.
    costs: (n,), > 0. None: 1 for all rows.
    Ties are broken by row. Gains only shrink, so earlier ones are upper bounds, and only the greatest are
    computed again.
    """
    total, costs = base.astype(np.float64), np.ones(len(parts)) if costs is None else costs
    bounds = (np.sqrt(total + parts) - np.sqrt(total)) @ weights / costs
    picked: list[int] = []
    while len(picked) < k:
        best = int(bounds.argmax())
        gain = float((np.sqrt(total + parts[best]) - np.sqrt(total)) @ weights) / float(costs[best])
        bounds[best] = min(gain, bounds[best])
        if int(bounds.argmax()) == best:
            picked.append(best)
            total = total + parts[best]
            bounds[best] = -np.inf
    return np.asarray(picked, dtype=np.int64)
