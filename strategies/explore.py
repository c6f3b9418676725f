"""Images the model is silent about: a detector that misses an object never asks for it."""

from __future__ import annotations

import numpy as np

from strategies.candidates import Candidates
from strategies.rows import IntArray


def silent(candidates: Candidates) -> IntArray:
    """Return the indices of the images without any detection, whose uncertainty is 0."""
    return np.flatnonzero(candidates.uncertainty == 0).astype(np.int64)
