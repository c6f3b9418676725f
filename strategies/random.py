"""Uniform sampling, the baseline of every other strategy."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates
from strategies.rows import IntArray


def select_random(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k candidates uniformly without replacement.

    It draws from the sorted ids, so the picks do not depend on the order of the pool.
    A baseline: every other strategy is compared with it.
    Cost: O(n) time and memory.
    """
    drawn = rng.choice(len(candidates), size=min(k, len(candidates)), replace=False)
    return np.asarray(candidates.order[drawn], dtype=np.int64)
