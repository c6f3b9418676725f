"""Decide whether a candidate replaces the current model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from al_loop.core.config import PromotionConfig
from al_loop.core.console import Reporter
from al_loop.core.files import write_json
from al_loop.evaluation.bootstrap import Comparison
from al_loop.images import repository
from al_loop.models import evaluation
from al_loop.state.database.label_table import set_names
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import METRIC_TITLES, VALIDATION, MaskMetrics, MetricName, Metrics

#: File in the folder of a candidate: its difference to the current model.
COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and a reason for the report."""

    promote: bool
    reason: str


def decide_promotion(
    candidate: Metrics,
    current: Metrics | None,
    rule: PromotionConfig,
    difference: Comparison | None = None,
    metric: MetricName = "box_ap",
) -> Decision:
    """Decide by AP whether a candidate replaces the current model. Both are evaluated on the same set.

    difference: of the two models, with intervals. None: compare the metrics only.
    metric: whether the AP of boxes or of masks decides. That of boxes does if the current model predicts no
        masks, or if the set has no outlines.

    Reject the candidate in one of these cases:
    - The current model predicts masks, and the candidate predicts none.
    - Its AP is not finite.
    - It predicts no box.
    - Its AP fell, and the interval of the difference includes a fall by the tolerance or more.
    - The AP of a class fell by more than the class tolerance, and its interval lies below 0.
    Promote it otherwise. An equal AP is enough: the candidate has learned from more labels.
    """
    if metric == "mask_ap" and current and current.masks and not candidate.masks:
        return Decision(False, "it predicts no masks, unlike the current model")
    if metric == "mask_ap" and candidate.masks and (current is None or current.masks):
        before, spread = current and current.masks, difference and difference.masks
        return _decide(candidate.masks, before, rule, spread, METRIC_TITLES[metric])
    title = METRIC_TITLES["box_ap"] if metric == "box_ap" else "box AP"
    return _decide(candidate, current, rule, difference, title)


def _decide(
    candidate: Metrics | MaskMetrics,
    current: Metrics | MaskMetrics | None,
    rule: PromotionConfig,
    difference: Comparison | None,
    title: str,
) -> Decision:
    if not math.isfinite(candidate.ap):
        return Decision(False, f"its {title} is not a number ({candidate.ap})")
    if current is None:
        return Decision(True, f"the first model, {title} {candidate.ap:.3f}")
    change = f"{title} {current.ap:.3f} → {candidate.ap:.3f}"
    if difference is not None:
        change += f", {difference.ap} over {difference.images} images"
        if difference.predictions == 0:
            return Decision(False, f"{change}: it predicts no box at all")
    floor = candidate.ap - current.ap if difference is None else difference.ap.low
    if candidate.ap < current.ap and not floor > -rule.tolerance:
        certainty = "the fall is" if difference is None else "the fall may be"
        limit = f", {certainty} {rule.tolerance:g} or more" if rule.tolerance else ""
        return Decision(False, f"{change}: worse{limit}")
    for name, before in current.per_class.items():
        after = candidate.per_class.get(name) or 0.0
        if before is not None and after < before - rule.class_tolerance and _surely_fell(difference, name):
            return Decision(
                False,
                f"{change}, but {name} fell from {before:.3f} to {after:.3f}, "
                f"more than the class tolerance of {rule.class_tolerance:g}",
            )
    return Decision(True, f"{change}: not worse")


def _surely_fell(difference: Comparison | None, name: str) -> bool:
    """Whether the interval of a class lies below 0. On few images, its AP may fall by chance."""
    change = difference.per_class.get(name) if difference else None
    return change is None or change.high < 0


@dataclass(frozen=True)
class PromotionResult:
    """Metrics of a candidate and of the current model on the validation set, and the decision on all sets."""

    candidate: Metrics
    current: Metrics | None
    decision: Decision


def evaluate_candidate(
    workspace: Workspace, candidate: Model, current: Model | None, reporter: Reporter
) -> PromotionResult:
    """Evaluate both models on every set. Reject the candidate at the first of promotion.sets that fails.

    Writes the differences to comparison.json beside the candidate.
    Raises DataError if promotion.sets names a set that does not exist.
    """
    rule, differences = workspace.config.promotion, dict[str, Comparison]()
    decisions: list[Decision] = []
    for name in dict.fromkeys((*rule.sets, *set_names(workspace.store))):
        after = evaluation.evaluate_model(workspace, candidate, name, reporter)
        before = evaluation.evaluate_model(workspace, current, name, reporter) if current else None
        if current:
            differences[name] = evaluation.compare_models(workspace, candidate, current, name, reporter)
        if name == VALIDATION:
            shown = after, before
        if name in rule.sets:
            metric = workspace.config.key_metric
            decision = decide_promotion(after, before, rule, differences.get(name), metric)
            prefix = "" if name == VALIDATION else f"on {name}: "
            decisions.append(Decision(decision.promote, f"{prefix}{decision.reason}"))
    if current:
        sets = {name: difference.plain for name, difference in differences.items()}
        write_json(candidate.folder / COMPARISON, {"against": current.id, "sets": sets})
    agreed = Decision(True, "; ".join(decision.reason for decision in decisions))
    return PromotionResult(*shown, next((d for d in decisions if not d.promote), agreed))


def promotion_sets(workspace: Workspace) -> dict[str, list[LabelledImage]]:
    """Return the sets on which a candidate must not be worse, by name."""
    return {name: repository.validation(workspace, name) for name in workspace.config.promotion.sets}


def check_sets(workspace: Workspace, *, drawn: bool = False) -> None:
    """Raise DataError unless the validation set and all of promotion.sets exist.

    drawn: the validation set is drawn later.
    """
    for name in dict.fromkeys((VALIDATION, *workspace.config.promotion.sets)):
        if name != VALIDATION or not drawn:
            repository.validation(workspace, name)
