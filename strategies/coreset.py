"""Core-set: cover the pool, so that no image is far from a labelled one."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, IntArray
from strategies.distances import Floats32, squared_distances, squared_lengths, squared_to_nearest


def select_coreset(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Greedy k-centre: again and again the candidate farthest from all labelled and picked images.

    Minimises, to a factor of 2, the radius max_i min_{j in labelled or picked} |x_i - x_j| over the embeddings.
    Without any labelled image the first is the one nearest to the mean. Deterministic; ties by id.

    Cost: O(n (l + k) d) time, in one pass over the embeddings per pick; O(n) memory.
    Source: Sener & Savarese 2018, Algorithm 1.
    """
    del rng
    points = candidates.embeddings
    lengths = squared_lengths(points)
    labelled = candidates.labelled
    if labelled is not None and len(labelled):
        nearest = squared_to_nearest(points, lengths, labelled)
        picked: list[int] = []
    else:
        mean = np.mean(points, axis=0, dtype=np.float64)
        first = _first_of(-squared_distances(points, lengths, mean), candidates.rank)
        nearest = squared_distances(points, lengths, points[first])
        picked = [first]
    taken = np.zeros(len(points), dtype=bool)
    taken[picked] = True
    while len(picked) < k:
        nearest[taken] = -1.0  # distances are >= 0: one that is taken never comes again
        picked.append(_first_of(nearest, candidates.rank))
        taken[picked[-1]] = True
        np.minimum(nearest, squared_distances(points, lengths, points[picked[-1]]), out=nearest)
    return np.asarray(picked[:k], dtype=np.int64)


def _first_of(values: Floats32, rank: IntArray) -> int:
    """Index of the greatest value; of equal ones that of the lowest rank."""
    best = np.flatnonzero(values == values.max())
    return int(best[np.argmin(rank[best])])
