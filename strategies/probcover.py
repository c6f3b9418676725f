"""ProbCover: images in whose neighbourhood most others lie without a label."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from strategies.candidates import Candidates
from strategies.clusters import TYPICAL, nearest_centre, weighted_kmeans, with_labelled
from strategies.rows import FloatArray, IntArray

#: Share of balls that hold points of one cluster alone.
PURITY = 0.95
#: The radius is found on a random sample of this size.
_SAMPLE = 1000


def select_probcover(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images whose balls in the space of embeddings cover most images that no label covers yet.

    Each pick is the candidate whose ball holds the most uncovered candidates; labelled images and earlier
    picks cover their balls. The radius is `pure_radius` of as many clusters as there are classes, or k if
    their number is unknown. Once all candidates are covered, the radius is halved. Ties by id.

    Needs `labelled`. A larger pool is cut to a random sample of TYPICAL candidates.
    Cost: O(n² d) time and n (n + l) bytes of memory for n <= TYPICAL candidates and l labelled images.
    Source: Yehuda, Dekel, Hacohen & Weinshall 2022, "Active Learning Through a Covering Lens", Algorithm 1.
    The halved radius is ours: there the rest is drawn at random.
    """
    order = candidates.order
    if len(order) > max(TYPICAL, k):
        order = order[np.sort(rng.choice(len(order), max(TYPICAL, k), replace=False))]
    if len(order) <= k:
        return order
    points, n = with_labelled(candidates, order), len(order)
    classes = None if candidates.labelled_classes is None else len(candidates.labelled_classes)
    radius = pure_radius(points, max(2, classes or k), rng)
    picked: list[int] = []
    while len(picked) < k:
        inside = _within(points[:n], points, radius)
        counted = ~inside[:, [*picked, *range(n, len(points))]].any(axis=1)
        new = _cover(inside[:, :n], counted, k - len(picked), picked)
        picked += new or [int(np.setdiff1d(np.arange(n), picked)[0])]
        radius /= 2
    return order[picked]


def pure_radius(points: FloatArray, clusters: int, rng: Generator) -> float:
    """Return the largest radius at which a share PURITY of the points has no point of another cluster near.

    points: (n, d), of which at most _SAMPLE are used.
    clusters: of a KMeans.
    Source: Yehuda et al. 2022, section 3.3.
    """
    from sklearn.metrics import pairwise_distances

    if len(points) > _SAMPLE:
        points = points[np.sort(rng.choice(len(points), _SAMPLE, replace=False))]
    if len(points) <= clusters:
        return 0.0
    cluster = nearest_centre(points, weighted_kmeans(points, np.ones(len(points)), clusters, rng))
    distances = pairwise_distances(points)
    distances[cluster[:, None] == cluster[None]] = np.inf
    to_others = np.sort(distances.min(axis=1))
    # A ball is pure if the nearest point of another cluster is farther away than the radius.
    allowed = int(np.floor((1 - PURITY) * len(points)))
    nearest = float(to_others[allowed])
    return float(np.nextafter(nearest, 0)) if np.isfinite(nearest) else float(np.finfo(np.float32).max)


def _within(centres: FloatArray, points: FloatArray, radius: float) -> NDArray[np.bool_]:
    """Return whether each point is in the ball of each centre, (centres, points)."""
    from sklearn.metrics import pairwise_distances_chunked

    chunks = pairwise_distances_chunked(centres, points, reduce_func=lambda part, _: part <= radius)
    return np.concatenate(list(chunks))


def _cover(inside: NDArray[np.bool_], left: NDArray[np.bool_], k: int, taken: list[int]) -> list[int]:
    """Return at most k centres that cover the most points that are `left`; none if none is left."""
    picked: list[int] = []
    gains = (inside & left).sum(axis=1)
    gains[taken] = 0
    while len(picked) < k and gains.max(initial=0) > 0:
        picked.append(int(gains.argmax()))
        new = inside[picked[-1]] & left
        gains -= (inside[:, new]).sum(axis=1)
        left = left & ~new
    return picked
