"""What every closed surface has in common; used by the tests of shapes."""

import numpy as np


def sides(made):
    """Every face's sides, in its direction, as rows (from, to)."""
    ends = np.cumsum(made.sizes)
    after = np.arange(1, len(made.corners) + 1)
    after[ends - 1] = ends - made.sizes
    return np.stack([made.corners, made.corners[after]], axis=1)


def is_closed(made):
    """Whether every edge has exactly two faces, which go along it in opposite directions."""
    directed = sides(made)
    once = len(np.unique(directed, axis=0)) == len(directed)
    _, faces = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    return once and bool((faces == 2).all())


def euler(made):
    """Vertices - edges + faces: 2 for every closed piece, less 2 for each hole through it."""
    return len(np.unique(made.corners)) - len(sides(made)) // 2 + len(made.sizes)


def extent(*made):
    points = np.concatenate([m.vertices for m in made])
    return np.stack([points.min(axis=0), points.max(axis=0)])
