"""What a strategy may pick from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class CandidatesError(ValueError):
    """The arrays handed to a strategy cannot be selected from."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images a strategy may pick from, and what the detector says about them.

    ids: n distinct names; ties are broken by them.
    uncertainty: (n,) sum of margins, finite and >= 0, no unit. Higher is picked sooner.
    embeddings: (n, d) pooled features, finite; d may be 0 for strategies that use none.
    """

    ids: tuple[str, ...]
    uncertainty: FloatArray
    embeddings: FloatArray

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together or are not finite."""
        n = len(self.ids)
        if self.uncertainty.shape != (n,):
            raise CandidatesError(
                f"uncertainty must have shape ({n},) to match {n} ids, got {self.uncertainty.shape}"
            )
        if self.embeddings.ndim != 2 or len(self.embeddings) != n:
            raise CandidatesError(
                f"embeddings must have shape ({n}, d) to match {n} ids, got {self.embeddings.shape}"
            )
        if len(set(self.ids)) != n:
            raise CandidatesError(f"ids must be distinct, got {n - len(set(self.ids))} repeated")
        for name, values in (("uncertainty", self.uncertainty), ("embeddings", self.embeddings)):
            finite = np.isfinite(values).reshape(n, -1).all(axis=1)
            if not finite.all():
                bad = self.ids[int(np.argmin(finite))]
                raise CandidatesError(f"{name} must be finite; candidate {bad!r} is not")
        if n and self.uncertainty.min() < 0:
            bad = self.ids[int(np.argmin(self.uncertainty))]
            raise CandidatesError(
                f"uncertainty must be >= 0; candidate {bad!r} has {self.uncertainty.min():g}"
            )

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.ids)


def most_uncertain(candidates: Candidates, count: int) -> IntArray:
    """Return the indices of the `count` largest uncertainties, largest first, ties by id."""
    order = np.lexsort((np.asarray(candidates.ids), -candidates.uncertainty))
    return np.asarray(order[:count], dtype=np.int64)
