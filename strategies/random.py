"""Uniform sampling, the baseline every strategy has to beat."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates
from strategies.rows import IntArray


def select_random(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k candidates uniformly without replacement.

    The draw is over the ids in sorted order, so it does not depend on the order of the pool.
    A control: what every other strategy is held against.
    Cost: O(n) time and memory.
    """
    drawn = rng.choice(len(candidates), size=min(k, len(candidates)), replace=False)
    return np.asarray(candidates.order[drawn], dtype=np.int64)
