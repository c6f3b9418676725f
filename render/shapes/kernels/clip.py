"""Clips triangles along the zero of a function."""

from __future__ import annotations

import numpy as np

from render.shapes.kernels.surface import FloatArray, IntArray


def clip_triangles(triangles: IntArray, points: FloatArray, value: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the part of triangles (m, 3) where the value is negative, and the points added (e, d).

    points: (n, d); added points are numbered from n on.
    value: (n,) at the points, taken as linear along edges.
    """
    sign = np.sign(value[triangles])
    whole = (sign <= 0).all(axis=1) & (sign < 0).any(axis=1)
    crossed = triangles[(sign < 0).any(axis=1) & (sign > 0).any(axis=1)]
    # Rotate the corners so that the single one comes first: the only one inside, or the only one outside.
    one_inside = (value[crossed] < 0).sum(axis=1) == 1
    single_corner = np.argmax((value[crossed] < 0) == one_inside[:, None], axis=1)
    a, b, c = np.take_along_axis(crossed, (single_corner[:, None] + np.arange(3)) % 3, axis=1).T
    ends = np.sort(np.stack([a, b, a, c], axis=1).reshape(-1, 2), axis=1)
    edges, which = np.unique(ends, axis=0, return_inverse=True)
    low, high = value[edges.T]
    share = (low / (low - high))[:, None]
    added = points[edges[:, 0]] * (1 - share) + points[edges[:, 1]] * share
    # If the value is 0 at the other end of an edge, that end is the crossing.
    others = np.stack([b, c], axis=1)
    ab, ac = np.where(value[others] == 0, others, len(points) + which.reshape(-1, 2)).T
    pieces = (
        np.stack([a, ab, ac], axis=1)[one_inside],
        np.stack([ab, b, c], axis=1)[~one_inside],
        np.stack([ab, c, ac], axis=1)[~one_inside],
    )
    return np.concatenate([triangles[whole], *pieces]), added
