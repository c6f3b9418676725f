"""Squared Euclidean distances in single precision, in blocks: one pass over the points, no copy of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.rows import AnyFloats, Table, blocks

Float32 = np.float32
Floats32 = NDArray[np.float32]

#: Points, and centres, that are held against each other at once: their distances stay in the processor's
#: cache.
ROWS, _CENTRES = 4096, 128


def squared_lengths(points: Table) -> Floats32:
    """(n,) squared lengths."""
    squared = np.empty(len(points), Float32)
    for start, block in blocks(points):
        part = block.astype(Float32, copy=False)
        squared[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    return squared


def squared_to_nearest(points: Table, lengths: Floats32, centres: AnyFloats) -> Floats32:
    """(n,) squared distances to the nearest of some points, (m, d), or to one, (d,). Rounding can make them slightly negative."""
    squared = np.full(len(points), np.inf, Float32)
    draw_near(squared, points, lengths, centres)
    return squared


def draw_near(nearest: Floats32, points: Table, lengths: Floats32, centres: AnyFloats) -> None:
    """Lower `nearest`, (n,) squared distances, to those to some more points, in place and in one pass.

    lengths: (n,) of `squared_lengths`.  centres: (m, d), or one, (d,). A distance is |x|² - 2 x·c + |c|², and
    |x|² comes in when the least of a point is squared.
    """
    c = np.atleast_2d(np.asarray(centres, Float32))
    centre_lengths = np.einsum("ij,ij->i", c, c)[:, None]
    twice = c * Float32(-2)
    for start, block in blocks(points, ROWS):
        part = block.astype(Float32, copy=False).T
        rows = slice(start, start + part.shape[1])
        for at in range(0, len(c), _CENTRES):
            block_distances = twice[at : at + _CENTRES] @ part
            block_distances += centre_lengths[at : at + _CENTRES]
            least = block_distances.min(axis=0)
            least += lengths[rows]
            np.minimum(nearest[rows], least, out=nearest[rows])
