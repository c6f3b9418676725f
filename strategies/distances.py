"""Squared Euclidean distances in single precision, in blocks: one pass over the points, no copy of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.rows import AnyFloats, Table, blocks

Float32 = np.float32
Floats32 = NDArray[np.float32]


def squared_lengths(points: Table) -> Floats32:
    """(n,) squared lengths."""
    found = np.empty(len(points), Float32)
    for start, block in blocks(points):
        part = block.astype(Float32, copy=False)
        found[start : start + len(part)] = np.einsum("ij,ij->i", part, part)
    return found


def squared_distances(points: Table, lengths: Floats32, centre: AnyFloats) -> Floats32:
    """(n,) squared distances to one point: |x|² - 2 x·c + |c|². Of near ones a hair below 0, by rounding."""
    found = np.full(len(points), np.inf, Float32)
    draw_near(found, points, lengths, centre)
    return found


def draw_near(nearest: Floats32, points: Table, lengths: Floats32, centre: AnyFloats) -> None:
    """Lower `nearest`, (n,) squared distances, to those to one more point, in place and in one pass.

    Block by block: what is computed of one stays in the processor's cache until it is compared.
    """
    c = np.asarray(centre, Float32)
    own = c @ c
    for start, block in blocks(points):
        rows = slice(start, start + len(block))
        apart = block.astype(Float32, copy=False) @ c
        apart *= Float32(-2)
        apart += lengths[rows]
        apart += own
        np.minimum(nearest[rows], apart, out=nearest[rows])


def squared_to_nearest(points: Table, lengths: Floats32, others: AnyFloats) -> Floats32:
    """(n,) squared distances to the nearest of some points."""
    c = np.asarray(others, Float32)
    own = np.einsum("ij,ij->i", c, c)
    found = np.empty(len(points), Float32)
    step = max(1, 2**23 // max(1, len(c)))
    for start in range(0, len(points), step):
        part = points[start : start + step].astype(Float32, copy=False)
        found[start : start + step] = (own - 2 * (part @ c.T)).min(axis=1)
    found += lengths
    return found
