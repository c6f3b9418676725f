"""The picks of a selection."""

from __future__ import annotations

from dataclasses import dataclass

#: What people see above an image that is drawn at random.
AUDIT_REASON = "audit: drawn at random, to measure the model"


@dataclass(frozen=True)
class Pick:
    """A selected image, with its rank in the queue (from 0) and the reason."""

    image_id: str
    rank: int
    uncertainty: float
    reason: str
    known: bool = False  # already labelled, so that it is not pushed
    audit: bool = False  # drawn at random, to measure the model on an unbiased sample
    validation: bool = False  # drawn at random for the validation set: no model is trained on it
