"""Expected gain in AP by more labels: the learning curve, extrapolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from al_loop.state.database.cycle_table import ABANDONED, finished_cycles
from al_loop.state.database.label_table import labels_until
from al_loop.state.database.model_table import ap_on_newest_set
from al_loop.state.workspace import Workspace


@dataclass(frozen=True)
class GainForecast:
    """Expected change of AP by the next labels, with a 95 % interval.

    gains: change of AP by each cycle so far.
    """

    gain: float
    low: float
    high: float
    gains: tuple[float, ...]


def curve(workspace: Workspace) -> list[tuple[int, float]]:
    """Return (labels, AP) of the model in use after each cycle, on the newest validation set.

    It is the AP that decides on promotions; that of boxes if no model predicts masks.
    """
    masks = workspace.config.key_metric == "mask_ap"
    reached = ap_on_newest_set(workspace.store, masks=masks) or ap_on_newest_set(workspace.store)
    if not reached:
        return []
    points: list[tuple[int, float]] = []
    for cycle in finished_cycles(workspace.store):
        if not points and cycle.model_id in reached:
            points.append((labels_until(workspace.store, cycle.number - 1), reached[cycle.model_id]))
        if cycle.outcome == ABANDONED:  # its labels count with the next
            continue
        used = f"cycle-{cycle.number}" if cycle.outcome == "promoted" else cycle.model_id
        if used in reached:
            points.append((labels_until(workspace.store, cycle.number), reached[used]))
    return points


def extrapolated(points: Sequence[tuple[int, float]], k: int) -> GainForecast | None:
    """Return the expected gain of k more labels; None for fewer than three points.

    Fits AP = a + b · log(1 + labels / k) by least squares; b with Student's interval. Learning curves of
    detectors are close to this line until they level off; then the last gains are more informative.

    points: (labels, AP), labels rising.
    Source: Viering & Loog 2023, "The Shape of Learning Curves", section 4 (logarithm and power laws).
    """
    if len(points) < 3:
        return None
    labels, ap = np.array(points, np.float64).T
    x, gains = np.log1p(labels / k), tuple(np.diff(ap).tolist())
    step = math.log1p((labels[-1] + k) / k) - x[-1]
    (slope, _), residuals, rank, *_ = np.polyfit(x, ap, 1, full=True)
    if rank < 2:  # all points have equally many labels
        return GainForecast(math.nan, -math.inf, math.inf, gains)
    error = math.sqrt(residuals[0] / (len(points) - 2) / len(points) / x.var())
    margin = float(student.ppf(0.975, len(points) - 2)) * error
    return GainForecast(float(slope * step), (slope - margin) * step, (slope + margin) * step, gains)
