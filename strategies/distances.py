"""Squared Euclidean distances in float32, in one pass over the points, without a copy of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.rows import AnyFloats, Table, blocks

Float32 = np.float32
Floats32 = NDArray[np.float32]

#: Points and centres of a block: their distances fit into the processor's cache.
ROWS, _CENTRES = 4096, 128


def squared_lengths(points: Table) -> Floats32:
    """Return the squared lengths of points, (n,)."""
    squared = np.empty(len(points), Float32)
    for start, block in blocks(points):
        part = block.astype(Float32, copy=False)
        squared[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    return squared


def squared_to_nearest(points: Table, lengths: Floats32, centres: AnyFloats) -> Floats32:
    """Return the squared distances to the nearest of `centres`, (n,); slightly negative by rounding.

    Arguments as for `draw_near`.
    """
    squared = np.full(len(points), np.inf, Float32)
    draw_near(squared, points, lengths, centres)
    return squared


def draw_near(nearest: Floats32, points: Table, lengths: Floats32, centres: AnyFloats) -> None:
    """Update `nearest`, (n,) squared distances, with more centres, in place.

    lengths: `squared_lengths` of the points.  centres: (m, d), or one, (d,). A squared distance is
    |x|² - 2 x·c + |c|², where |x|² is added last.
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
