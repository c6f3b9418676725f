"""The images that a selection chose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pick:
    """One chosen image: its rank in the queue (from 0) and the reason."""

    image_id: str
    rank: int
    uncertainty: float
    reason: str
    known: bool = False  # labelled before: not pushed
    audit: bool = False  # drawn at random, to measure the model on a fair sample
