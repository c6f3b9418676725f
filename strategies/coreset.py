"""Core-set: cover the pool, so that no image is far from a labelled one."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates
from strategies.distances import (
    Floats32,
    draw_near,
    squared_distances,
    squared_lengths,
    squared_to_nearest,
)
from strategies.rows import IntArray


def select_coreset(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Greedy k-centre: again and again the candidate farthest from all labelled and picked images.

    Minimises, to a factor of 2, the radius max_i min_{j in labelled or picked} |x_i - x_j| over the embeddings.
    Without any labelled image the first is the one nearest to the mean. Deterministic; ties by id.

    Cost: O(n (l + k) d) time, in one pass over the embeddings per pick; O(n) memory.
    Source: Sener & Savarese 2018, Algorithm 1.
    """
    del rng
    points, labelled = candidates.embeddings, candidates.labelled
    lengths = squared_lengths(points)
    if labelled is not None and len(labelled):
        nearest = squared_to_nearest(points, lengths, labelled)
        picked = [_first_of(nearest, candidates)]
    else:
        mean = np.mean(points, axis=0, dtype=np.float64)
        picked = [_first_of(-squared_distances(points, lengths, mean), candidates)]
        nearest = np.full(len(points), np.inf, np.float32)
    while len(picked) < k:
        draw_near(nearest, points, lengths, points[picked[-1]])
        nearest[picked[-1]] = -np.inf  # and stays it: one that is taken never comes again
        picked.append(_first_of(nearest, candidates))
    return np.asarray(picked, dtype=np.int64)


def _first_of(values: Floats32, candidates: Candidates) -> int:
    """Index of the greatest value; of equal ones that of the first id."""
    best = int(values.argmax())
    if candidates.in_order:
        return best
    equal = np.flatnonzero(values == values[best])
    return int(equal[np.argmin(candidates.rank[equal])])
