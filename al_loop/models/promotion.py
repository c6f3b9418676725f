"""Should a candidate replace the current model?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from al_loop.core.config import PromotionConfig
from al_loop.core.console import Reporter
from al_loop.core.files import write_json
from al_loop.evaluation.bootstrap import Comparison
from al_loop.images import repository
from al_loop.models import evaluation
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import VALIDATION, Metrics

#: What the difference to the model that had to be beaten is kept in.
COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, in a sentence for the report."""

    promote: bool
    reason: str


def decide_promotion(
    candidate: Metrics, current: Metrics | None, rule: PromotionConfig, apart: Comparison | None = None
) -> Decision:
    """Compare a candidate with the current model on the same validation set, by AP.

    apart: how sure the difference is; None where that is not known, and then only the numbers count.
    Promoted if AP did not fall, or if the 95 % interval of the difference lies above minus the tolerance. Not
    promoted: an AP that is not finite, no prediction at all, and one class that falls by more than its tolerance, and
    surely so. Equal is promoted: it has learned from more labels.
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
        after = candidate.per_class.get(name) or 0.0
        if before is not None and after < before - rule.class_tolerance and _sure(apart, name):
            return Decision(
                False,
                f"{change}, but {name} fell from {before:.3f} to {after:.3f}, "
                f"more than the class tolerance of {rule.class_tolerance:g}",
            )
    return Decision(True, f"{change}: not worse")


@dataclass(frozen=True)
class PromotionResult:
    """A candidate beside the model that it should replace, on the validation set; and the decision on all sets."""

    candidate: Metrics
    current: Metrics | None
    decision: Decision


def evaluate_candidate(
    workspace: Workspace, candidate: Model, current: Model | None, reporter: Reporter
) -> PromotionResult:
    """Evaluate both models on every set; reject the candidate at the first of promotion.sets that fails.

    How sure the differences are is kept beside the candidate, as comparison.json.
    Raises DataError when promotion.sets names a set that there is not.
    """
    rule, apart, decisions = workspace.config.promotion, {}, {}
    for name in dict.fromkeys((*rule.sets, *repository.set_names(workspace))):
        after = evaluation.evaluate_model(workspace, candidate, name, reporter)
        before = evaluation.evaluate_model(workspace, current, name, reporter) if current else None
        if current:
            apart[name] = evaluation.compare_models(workspace, candidate, current, name, reporter)
        if name in rule.sets:
            found = decide_promotion(after, before, rule, apart.get(name))
            decisions[name] = found if name == VALIDATION else _named(name, found)
        if name == VALIDATION:
            shown = after, before
    if current:
        kept = {"against": current.id, "sets": {name: asdict(one) for name, one in apart.items()}}
        write_json(candidate.folder / COMPARISON, kept)
    refused = [decision for decision in decisions.values() if not decision.promote]
    reasons = "; ".join(decision.reason for decision in decisions.values())
    return PromotionResult(*shown, refused[0] if refused else Decision(True, reasons))


def check_sets(workspace: Workspace) -> None:
    """Raise DataError unless there is a validation set, and every other that promotion.sets names."""
    for name in (VALIDATION, *workspace.config.promotion.sets):
        repository.validation(workspace, name)


def _named(name: str, decision: Decision) -> Decision:
    return Decision(decision.promote, f"on {name}: {decision.reason}")


def _sure(apart: Comparison | None, name: str) -> bool:
    """Whether a class has surely fallen: on few images one may fall by chance."""
    found = apart.per_class.get(name) if apart else None
    return found is None or found.high < 0


def _worse(apart: Comparison | None, rule: PromotionConfig) -> str:
    if apart is None:
        return f"worse by the tolerance of {rule.tolerance:g} or more"
    return f"worse, and it may be by the tolerance of {rule.tolerance:g} or more"
