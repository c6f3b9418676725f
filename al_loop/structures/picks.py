"""What a selection chose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pick:
    """One chosen image: where it stands in the queue (rank, from 0) and why it was chosen."""

    image_id: str
    rank: int
    uncertainty: float
    reason: str
    known: bool = False  # labelled before: it costs no label and is not pushed
    audit: bool = False  # drawn by lot: a fair sample of what comes in, to measure the model on
