"""The triggers: whether a cycle is due, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from al_loop.core.config import TriggerName
from al_loop.monitor import random_audit, stopping
from al_loop.monitor.baseline import baseline
from al_loop.monitor.windows import explain, open_alarm, raise_alarm, waiting, windows_of
from al_loop.state.database.cycle_table import newest_cycle
from al_loop.state.database.image_table import unlabelled_since_last_cycle
from al_loop.state.database.model_table import all_promotions
from al_loop.state.workspace import Workspace, now


@dataclass(frozen=True)
class Verdict:
    """The result of a trigger.

    due: a cycle should begin.
    reason: text for people; numbers: the same for machines.
    hold: a cycle is advised against.
    """

    trigger: str
    due: bool
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    hold: bool = False


def evaluate_triggers(workspace: Workspace) -> tuple[Verdict, ...]:
    """Return the verdict of every trigger of the settings; call it after `evaluate_windows`."""
    return tuple(TRIGGERS[name](workspace) for name in workspace.config.monitor.triggers)


def _new_data(workspace: Workspace) -> Verdict:
    """Images without labels that came since the last cycle began."""
    wanted = workspace.config.monitor.new_data.images
    fresh = unlabelled_since_last_cycle(workspace.store)
    reason = f"{fresh} unlabelled images since the last cycle, threshold {wanted}"
    return Verdict("new-data", fresh >= wanted, reason, {"images": fresh, "threshold": wanted})


def _time(workspace: Workspace) -> Verdict:
    """Hours since the last cycle began; without one, since the first model."""
    cycle = newest_cycle(workspace.store, abandoned=False)
    since = [cycle.started_at] if cycle else [row.at for row in all_promotions(workspace.store)]
    wanted = workspace.config.monitor.time.hours
    if not since:
        return Verdict("time", False, "no model yet")
    hours = (datetime.fromisoformat(now()) - datetime.fromisoformat(since[0])).total_seconds() / 3600
    reason = f"{hours:.1f} h since the last cycle, threshold {wanted:g}"
    if hours < 0:
        reason = f"the clock is {-hours:.1f} h behind the last cycle, which began at {since[0]}: correct it"
    return Verdict("time", hours >= wanted, reason, {"hours": hours, "threshold": wanted})


def _drift(workspace: Workspace) -> Verdict:
    """Consecutive windows that differ from the references."""
    rule, reference = workspace.config.monitor.drift, baseline(workspace)
    alarm = open_alarm(workspace, "drift")
    if reference is None:
        return Verdict("drift", False, f"no reference yet: the pool has less than {rule.window} images")
    row = windows_of(workspace, reference.promotion, rule.consecutive_windows)
    queue = len(waiting(workspace, reference))
    numbers: dict[str, float] = {"windows_drifted": sum(w.drifted for w in row), "images_waiting": queue}
    if row:
        numbers |= {f"{s.name}_effect": s.effect for s in row[-1].signals}
        numbers |= {f"{s.name}_p": s.p for s in row[-1].signals}
    if alarm is not None:
        return Verdict("drift", True, alarm, numbers)
    if not row:
        return Verdict("drift", False, f"{queue} of {rule.window} images for the first window", numbers)
    reason = explain(row[-1]) if row[-1].drifted else f"no drift in window {row[-1].id}"
    if row[-1].drifted and all(w.drifted for w in row) and len(row) == rule.consecutive_windows:
        reason += f"; an alarm was raised less than {rule.cooldown_h:g} h ago"
    elif row[-1].drifted:
        reason += f"; {rule.consecutive_windows} in a row raise an alarm"
    return Verdict("drift", False, f"{reason}; {queue} of {rule.window} images for the next", numbers)


def _metric(workspace: Workspace) -> Verdict:
    """AP on images drawn at random, by the model that picked for their cycle."""
    rule = workspace.config.monitor.metric
    result = random_audit.measure(workspace, rule.images)
    if result.images < rule.images or result.expected is None:
        reason = f"{result.images} of {rule.images} images drawn at random are labelled"
        return Verdict("metric", False, reason, {"images": result.images})
    numbers = {name: getattr(result, name) for name in ("images", "ap", "low", "high", "expected")}
    reason = (
        f"AP {result.ap:.3f} ({result.low:.3f} to {result.high:.3f}) on the {result.images} newest images "
        f"drawn at random, {result.expected:.3f} on the validation set"
    )
    if result.high < result.expected - rule.fall:
        raise_alarm(workspace, "metric", reason, rule.cooldown_h, None)
    alarm = open_alarm(workspace, "metric")
    return Verdict("metric", alarm is not None, alarm or reason, numbers)


def _budget(workspace: Workspace) -> Verdict:
    """Expected gain of the next labels: advice, never a reason to begin a cycle."""
    rule, k = workspace.config.monitor.budget, workspace.config.cycle.k
    result = stopping.extrapolated(stopping.curve(workspace), k)
    if result is None:
        reason = "too few cycles for a forecast: it needs three models evaluated on one validation set"
        return Verdict("budget", False, reason)
    gains = result.gains
    reason = f"the next {k} labels: {result.gain:+.3f} AP expected ({result.low:+.3f} to {result.high:+.3f})"
    flat = len(gains) >= 2 and max(gains[-2:]) < rule.gain
    if flat:
        last = f"the last two cycles gained {gains[-2]:+.3f} and {gains[-1]:+.3f} AP"
        reason = f"{last}: stop, or widen the pool; {reason}"
    numbers = {"gain": result.gain, "low": result.low, "high": result.high, "flat": float(flat)}
    numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return Verdict("budget", False, reason, numbers, hold=flat and rule.hold)


#: Only the triggers of the settings are evaluated.
TRIGGERS: Mapping[TriggerName, Callable[[Workspace], Verdict]] = MappingProxyType(
    {"new-data": _new_data, "time": _time, "drift": _drift, "metric": _metric, "budget": _budget}
)
