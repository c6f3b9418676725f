"""Core-set: cover the pool, so that no image is far from a labelled one."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates
from strategies.distances import ROWS, Floats32, draw_near, squared_lengths, squared_to_nearest
from strategies.rows import IntArray


def select_coreset(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick by greedy k-centre: each time the candidate farthest from all labelled and picked images.

    Minimises, to a factor of 2, the radius max_i min_{j in labelled or picked} |x_i - x_j| over the
    embeddings. Without labelled images the first pick is nearest to the mean. Deterministic; ties by id.

    Cost: O(n (l + k) d) time at most, but most blocks of candidates cannot hold the farthest one and are
    skipped; O(n) memory.
    Source: Sener & Savarese 2018, Algorithm 1.
    """
    del rng
    points, labelled = candidates.embeddings, candidates.labelled
    lengths = squared_lengths(points)
    if labelled is not None and len(labelled):
        cover = _Cover(candidates, lengths, squared_to_nearest(points, lengths, labelled))
    else:
        cover = _Cover(candidates, lengths, np.full(len(points), np.inf, np.float32))
        mean = np.mean(points, axis=0, dtype=np.float64)
        cover.pick(_first_of(-squared_to_nearest(points, lengths, mean), candidates))
    while len(cover.picked) < k:
        cover.pick(cover.farthest())
    return np.asarray(cover.picked, dtype=np.int64)


class _Cover:
    """Squared distances of candidates to the nearest labelled or picked image, updated block by block.

    Distances only shrink, so the greatest of a block is an upper bound. A block is updated only when its
    bound is the largest.
    """

    def __init__(self, candidates: Candidates, lengths: Floats32, nearest: Floats32) -> None:
        self.picked: list[int] = []
        self._candidates, self._lengths, self._nearest = candidates, lengths, nearest
        self._bounds = np.maximum.reduceat(nearest, np.arange(0, len(nearest), ROWS))
        self._seen = np.zeros(len(self._bounds), np.int64)  # picks that a block's distances include

    def pick(self, index: int) -> None:
        """Add a candidate; it is never the farthest again."""
        self.picked.append(index)
        self._nearest[index] = -np.inf
        self._bound(index // ROWS)

    def farthest(self) -> int:
        """Return the candidate farthest from labelled and picked images; ties by id."""
        while True:
            best = np.flatnonzero(self._bounds == self._bounds.max())
            old = best[self._seen[best] < len(self.picked)]
            if not len(old):
                break
            self._update(int(old[0]))
        rows = (best[:, None] * ROWS + np.arange(ROWS)).ravel()
        rows = rows[rows < len(self._nearest)]
        equal = rows[self._nearest[rows] == self._bounds[best[0]]]
        return int(equal[np.argmin(self._candidates.rank[equal])])

    def _update(self, block: int) -> None:
        rows = slice(block * ROWS, (block + 1) * ROWS)
        points = self._candidates.embeddings
        new = points[np.asarray(self.picked[self._seen[block] :])]
        draw_near(self._nearest[rows], points[rows], self._lengths[rows], new)
        self._seen[block] = len(self.picked)
        self._bound(block)

    def _bound(self, block: int) -> None:
        self._bounds[block] = self._nearest[block * ROWS : (block + 1) * ROWS].max()


def _first_of(values: Floats32, candidates: Candidates) -> int:
    """Return the index of the greatest value; ties by id."""
    equal = np.flatnonzero(values == values.max())
    return int(equal[np.argmin(candidates.rank[equal])])
