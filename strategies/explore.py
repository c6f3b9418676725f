"""Images the model is silent about: a detector that misses an object never asks for it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, IntArray
from strategies.dbal import cluster_representatives


def silent(candidates: Candidates) -> IntArray:
    """Return the indices of the images without any detection, whose uncertainty is 0."""
    return np.flatnonzero(candidates.uncertainty == 0).astype(np.int64)


def select_diverse(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images spread over the embeddings, whatever their uncertainty.

    KMeans with equal weights, then the nearest distinct candidate of each centre; repeated embeddings
    are filled up in the order of their ids. Cost: O(n k d) per KMeans iteration, O(n k) memory.
    """
    order = np.argsort(np.asarray(candidates.ids))
    if len(order) <= k:
        return order.astype(np.int64)
    chosen = cluster_representatives(candidates.embeddings[order], np.ones(len(order)), k, rng)
    return order[chosen].astype(np.int64)
