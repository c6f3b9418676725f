"""The gain in AP to expect from more labels: the learning curve, extrapolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from al_loop.images.repository import labels_until
from al_loop.state.database.cycle_table import ABANDONED, finished_cycles
from al_loop.state.database.model_table import ap_on_newest_set
from al_loop.state.workspace import Workspace


@dataclass(frozen=True)
class GainForecast:
    """gain: expected change of AP by the next labels, with a 95 % interval.  gains: of each cycle so far, in AP."""

    gain: float
    low: float
    high: float
    gains: tuple[float, ...]


def forecast_gain(workspace: Workspace) -> GainForecast | None:
    """Return the forecast for the next k labels; None with fewer than three models judged on one validation set."""
    points = curve(workspace)
    if len(points) < 3:
        return None
    return extrapolated(points, workspace.config.cycle.k)


def curve(workspace: Workspace) -> list[tuple[int, float]]:
    """(labels, AP) of the model in use after each cycle, from the first on, on the newest validation set."""
    reached = ap_on_newest_set(workspace.store)
    if not reached:
        return []
    points: list[tuple[int, float]] = []
    for cycle in finished_cycles(workspace.store):
        if not points and cycle.model_id in reached:
            points.append((labels_until(workspace, cycle.number - 1), reached[cycle.model_id]))
        if cycle.outcome == ABANDONED:  # its labels count with the next
            continue
        used = f"cycle-{cycle.number}" if cycle.outcome == "promoted" else cycle.model_id
        if used in reached:
            points.append((labels_until(workspace, cycle.number), reached[used]))
    return points


def extrapolated(points: Sequence[tuple[int, float]], k: int) -> GainForecast:
    """Expected gain of k more labels: AP = a + b · log(1 + labels / k) by least squares, b with Student's interval.

    points: (labels, AP), at least 3, labels rising.  Learning curves of detectors are close to straight over
    the logarithm of the labels, until they level off: then the last gains, which are returned too, say more
    than the line.
    Source: Viering & Loog 2023, "The Shape of Learning Curves", section 4 (logarithm and power laws).
    """
    labels, ap = np.array(points, np.float64).T
    x = np.log1p(labels / k)
    centred = x - x.mean()
    spread = float(centred @ centred)
    step = math.log1p((labels[-1] + k) / k) - math.log1p(labels[-1] / k)
    gains = tuple(float(g) for g in np.diff(ap))
    if spread == 0:
        return GainForecast(math.nan, -math.inf, math.inf, gains)
    slope = float(centred @ ap) / spread
    rest = ap - ap.mean() - slope * centred
    error = math.sqrt(float(rest @ rest) / (len(points) - 2) / spread)
    reach = float(student.ppf(0.975, len(points) - 2)) * error
    return GainForecast(slope * step, (slope - reach) * step, (slope + reach) * step, gains)
