"""Should a candidate replace the current model?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from al_loop.config import PromotionConfig
from al_loop.samples import Metrics


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, in a sentence for the report."""

    promote: bool
    reason: str


def decide(candidate: Metrics, current: Metrics | None, rule: PromotionConfig) -> Decision:
    """Compare a candidate with the current model on the same validation set, by AP.

    Not promoted: an AP that is not finite, one below the current by more than the tolerance, and one
    class that falls by more than its tolerance. Equal is promoted: it has learned from more labels.
    """
    if not math.isfinite(candidate.ap):
        return Decision(False, f"its AP is not a number ({candidate.ap})")
    if current is None:
        return Decision(True, f"the first model, AP {candidate.ap:.3f}")
    change = f"AP {current.ap:.3f} → {candidate.ap:.3f}"
    if candidate.ap < current.ap - rule.tolerance:
        return Decision(False, f"{change}: worse by more than the tolerance of {rule.tolerance:g}")
    for name, before in current.per_class.items():
        after = candidate.per_class.get(name)
        if before is not None and (after or 0.0) < before - rule.class_tolerance:
            return Decision(
                False,
                f"{change}, but {name} fell from {before:.3f} to {after or 0.0:.3f}, "
                f"more than the class tolerance of {rule.class_tolerance:g}",
            )
    return Decision(True, f"{change}: not worse")
