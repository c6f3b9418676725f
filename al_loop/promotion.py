"""Should a candidate replace the current model?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from al_loop import modelling
from al_loop.bootstrap import Comparison
from al_loop.config import PromotionConfig
from al_loop.console import Reporter
from al_loop.files import write_json
from al_loop.models import Model
from al_loop.samples import LabelledImage, Metrics
from al_loop.workspace import Workspace

#: What the difference to the model that had to be beaten is kept in.
COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, in a sentence for the report."""

    promote: bool
    reason: str


def decide(
    candidate: Metrics, current: Metrics | None, rule: PromotionConfig, apart: Comparison | None = None
) -> Decision:
    """Compare a candidate with the current model on the same validation set, by AP.

    apart: how sure the difference is; None where that is not known, and then only the numbers count.
    Promoted if AP did not fall, or if the 95 % interval of the difference lies above minus the tolerance. Not
    promoted: an AP that is not finite, no prediction at all, and one class that falls by more than its tolerance. Equal
    is promoted: it has learned from more labels.
    """
    if not math.isfinite(candidate.ap):
        return Decision(False, f"its AP is not a number ({candidate.ap})")
    if current is None:
        return Decision(True, f"the first model, AP {candidate.ap:.3f}")
    change = f"AP {current.ap:.3f} → {candidate.ap:.3f}"
    if apart is not None:
        change += f", {apart.ap} over {apart.images} images"
        if apart.predictions == 0:
            return Decision(False, f"{change}: it predicts no box at all")
    floor = candidate.ap - current.ap if apart is None else apart.ap.low
    if candidate.ap < current.ap and not floor > -rule.tolerance:
        return Decision(False, f"{change}: {_worse(apart, rule)}")
    for name, before in current.per_class.items():
        after = candidate.per_class.get(name)
        if before is not None and (after or 0.0) < before - rule.class_tolerance:
            return Decision(
                False,
                f"{change}, but {name} fell from {before:.3f} to {after or 0.0:.3f}, "
                f"more than the class tolerance of {rule.class_tolerance:g}",
            )
    return Decision(True, f"{change}: not worse")


def hold_against(
    workspace: Workspace,
    candidate: Model,
    current: Model,
    validation: Sequence[LabelledImage],
    reporter: Reporter,
) -> Comparison:
    """How sure the difference to the current model is; kept beside the candidate, as comparison.json."""
    apart = modelling.compare_models(workspace, candidate, current, validation, reporter)
    write_json(candidate.folder / COMPARISON, {"against": current.id, **asdict(apart)})
    return apart


def _worse(apart: Comparison | None, rule: PromotionConfig) -> str:
    if apart is None:
        return f"worse by the tolerance of {rule.tolerance:g} or more"
    return f"worse, and it may be by the tolerance of {rule.tolerance:g} or more"
