"""Topology of surfaces: closed, Euler characteristic, extent."""

import numpy as np


def sides(made):
    """Every face's sides, in its direction, as rows (from, to)."""
    ends = np.cumsum(made.sizes)
    after = np.arange(1, len(made.corners) + 1)
    after[ends - 1] = ends - made.sizes
    return np.stack([made.corners, made.corners[after]], axis=1)


def is_closed(made):
    """Whether every edge has exactly two faces, which go along it in opposite directions."""
    start, end = sides(made).T
    count = len(made.vertices)
    forth, back = np.sort(start * count + end), np.sort(end * count + start)
    return bool((np.diff(forth) > 0).all() and np.array_equal(forth, back) and (start != end).all())


def euler(made):
    """Vertices - edges + faces: 2 for every closed piece, less 2 for each hole through it."""
    return len(np.unique(made.corners)) - len(sides(made)) // 2 + len(made.sizes)


def extent(*made):
    points = np.concatenate([m.vertices for m in made])
    return np.stack([points.min(axis=0), points.max(axis=0)])
