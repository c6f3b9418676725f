"""Ours: cover what the detector is unsure of, once it can count; until then what is typical."""

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
#: A detector counts whose boxes explain so much of the variance of the numbers of objects.
COUNTING = 0.5
#: Of more candidates, so many by lot say what is typical.
_TYPICAL = 10_000
#: What an image counts for its look alone: images without a box are spread over the looks.
_ANYTHING = 0.01


def select_coverage(candidates: Candidates, k: int, rng: Generator, *, looks: float = 0.3) -> IntArray:
    """Pick k images whose unsure objects add most to what labels cover; typical ones while the detector cannot count.

    What a sum over an image's boxes says depends on their number. `count_r2` tells how well the detector counts: the share
    of the variance of the numbers of objects of labelled images that its boxes explain. Where that is less than half, or
    not known, the images are those of `typiclust`. It was 0.95 for a model that had seen rendered dice and no photograph,
    and 0.25 for one that had seen rendered steel: there a sum of margins picked what misled the detector, and did worse
    than a lot (docs/results).

    From a half on, every object d of an image (`strategies.objects`: overlapping boxes once) counts s(d) p_c(d) for class c:
    its margin score, shared out by its distribution, so that what is background counts for little. With m_c(x) the sum
    over the objects of x, and v(x) the cluster of its embedding, one of k, the value of a set S of images is

        f(S) = Σ_c √(N_c + Σ_{x in S} m_c(x)) + looks · Σ_v √(N_v + Σ_{x in S, v(x) = v} Σ_c m_c(x))

    where N_c is the number of labelled boxes of class c, and N_v that of the labelled images in cluster v, times their
    mean number of boxes. The root makes more of the same worth less: of classes and looks that labels show already, and
    within a batch. f is monotone submodular, so that taking the best image again and again is within 1 − 1/e of the
    best set (Nemhauser, Wolsey & Fisher 1978). looks = 0 leaves the embeddings out. At 0.3 its picks show as many boxes as
    those of `dbal`, nearly as far spread over the embeddings; at 1 it gave up a fifth of the boxes for little more spread.

    Needs `labelled` and `count_r2`; without `labelled_classes` nothing counts as labelled. Of pools above 2000 images, or
    40 k if that is more, only the most uncertain by a(x) are looked at for their objects; for what is typical 10,000 that
    are drawn by lot. Ties by id.
    Cost: O(n) to cut the pool, O(b²) an image of b boxes, O(p k d) per KMeans iteration and O(p) for each gain that is
    looked at anew, p = max(2000, 40 k), and that of `typiclust` for 10,000; O(n + p (C + d)) memory.
    Source: the objective is a feature-based submodular function (Wei, Iyer & Bilmes 2015, "Submodularity in Data Subset
    Selection and Active Learning"); greedy with lazy gains, Minoux 1978. Uncertainty: Eversberg & Lambrecht 2024, eq. 1.
    What is typical helps where little is learnt: Hacohen, Dekel & Weinshall 2022.
    """
    if looks < 0:
        raise CandidatesError(f"looks must be >= 0, got {looks:g}")
    needed(candidates)
    if len(candidates) <= k:
        return candidates.order
    if candidates.count_r2 is None or candidates.count_r2 < COUNTING:
        return _typical(candidates, k, rng)
    top = np.sort(most_uncertain(candidates, max(_POOL, _POOL_PER_K * k)))
    order = top[np.argsort(candidates.rank[top])]
    mass = class_mass(candidates.subset(order))
    known, cluster, labelled = _looks(candidates, order, mass.shape[1], k, rng)
    # One column for every class and every look; an image has something in all of the first and in one of the others.
    look = mass.sum(axis=1) + _ANYTHING
    columns = np.concatenate([known, labelled])
    weights = np.concatenate([np.ones(len(known)), np.full(len(labelled), looks)])
    parts = np.zeros((len(order), len(columns)))
    parts[:, : len(known)] = mass
    parts[np.arange(len(order)), len(known) + cluster] = look
    return order[greedy(parts, columns, weights, k)]


def _typical(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """What `typiclust` picks, of a large pool from a part."""
    if len(candidates) <= max(_TYPICAL, k):
        return select_typiclust(candidates, k, rng)
    part = np.sort(candidates.order[rng.choice(len(candidates), max(_TYPICAL, k), replace=False)])
    return part[select_typiclust(candidates.subset(part), k, rng)]


def class_mass(candidates: Candidates) -> FloatArray:
    """(n, C): m_c(x), the margin scores of each image's objects, shared out by class; background gets nothing."""
    found = needed(candidates)
    rows = objects(found)
    shares = found.distributions[rows].astype(np.float64)
    mass = np.zeros((len(found), found.classes))
    np.add.at(mass, found.image[rows], margins(shares)[:, None] * shares[:, :-1])
    return mass


def greedy(parts: FloatArray, base: FloatArray, weights: FloatArray, k: int) -> IntArray:
    """k rows, one after another the one that adds most to Σ_j w_j √(base_j + sum of the picked parts_j); ties by row.

    parts: (n, j) and base: (j,), all >= 0.  weights: (j,) >= 0. Gains only shrink, so one that was looked at before is
    an upper bound: only the greatest of these are computed anew.
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


def _looks(
    candidates: Candidates, order: IntArray, classes: int, k: int, rng: Generator
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Labelled boxes of each class, the cluster of each candidate, and labelled boxes in each cluster."""
    known = np.zeros(classes) if candidates.labelled_classes is None else candidates.labelled_classes
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
    boxes = float(known.sum()) / max(1, len(labelled))
    return np.asarray(known, np.float64), cluster[: len(points)], images * boxes
