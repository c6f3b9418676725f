"""The newest images in windows, as they come: each window is evaluated once; enough drifted windows in a row raise an alarm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import numpy as np

from al_loop.monitor.baseline import Baseline
from al_loop.monitor.drift_tests import ImageStatistics, Signal, drift_signals, image_statistics, most_drifted
from al_loop.state.database import monitor_tables
from al_loop.state.database.image_table import pool_ids
from al_loop.state.workspace import Workspace, now
from al_loop.structures.predictions import ScoredImages

_NAMED = 8  # most drifted images of a window


@dataclass(frozen=True)
class Window:
    """An evaluated window. strangest: the images least like the references."""

    id: int
    images: tuple[str, ...]
    signals: tuple[Signal, ...]
    strangest: tuple[str, ...]
    drifted: bool
    at: str


def waiting(workspace: Workspace, baseline: Baseline) -> list[str]:
    """Return the images that no window holds yet, as they came."""
    windowed = monitor_tables.windowed_until(workspace.store, baseline.promotion)
    return pool_ids(workspace.store, after=max(windowed, baseline.arrived))


def evaluate_windows(workspace: Workspace, baseline: Baseline, scored: ScoredImages) -> list[Window]:
    """Evaluate every window that is full, raise the alarm where enough have drifted, and return the windows.

    scored: scores of the references and of the waiting images, by the model in use.
    """
    rule, min_score = workspace.config.monitor.drift, workspace.config.label_studio.min_score
    queue, evaluated = waiting(workspace, baseline), []
    if len(queue) < rule.window:
        return []
    seen, place = image_statistics(scored, min_score), {name: i for i, name in enumerate(scored.image_ids)}

    def rows(ids: Sequence[str]) -> list[int]:
        return [place[name] for name in ids if name in place]

    references = {name: seen.take(rows(ids)) for name, ids in baseline.drawn.items()}
    references = {name: one for name, one in references.items() if len(one) >= 2}
    for start in range(0, len(queue) - rule.window + 1, rule.window):
        ids = queue[start : start + rule.window]
        evaluated.append(
            _evaluate(workspace, baseline, references, ids, seen.take(rows(ids)), rows(ids), scored.image_ids)
        )
    return evaluated


def _evaluate(
    workspace: Workspace,
    baseline: Baseline,
    references: dict[str, ImageStatistics],
    ids: Sequence[str],
    window: ImageStatistics,
    rows: Sequence[int],
    names: Sequence[str],
) -> Window:
    """Evaluate one window and record it, with the alarm it may raise."""
    rule, store = workspace.config.monitor.drift, workspace.store
    number = 1 + monitor_tables.last_window_number(store)
    signals: tuple[Signal, ...] = ()
    strangest: tuple[str, ...] = ()
    if references and len(window) >= 2:
        rng = np.random.default_rng(np.random.SeedSequence([workspace.config.cycle.seed, number]))
        signals = drift_signals(references, window, rule, rng)
        strangest = tuple(names[rows[row]] for row, _ in most_drifted(references, window, _NAMED))
    found = Window(number, tuple(ids), signals, strangest, any(s.drifted for s in signals), now())
    with store.transaction():
        about = json.dumps({"signals": [asdict(s) for s in signals], "strangest": strangest})
        monitor_tables.insert_window(store, number, baseline.promotion, ids, about, found.drifted, found.at)
        row = windows_of(workspace, baseline.promotion, rule.consecutive_windows)
        if len(row) == rule.consecutive_windows and all(one.drifted for one in row):
            raise_alarm(workspace, "drift", explain(row[-1]), rule.cooldown_h, row[0].id)
    return found


def windows_of(workspace: Workspace, promotion: int, count: int) -> list[Window]:
    """Return the newest windows since a promotion, oldest first."""
    found = []
    for row in monitor_tables.newest_windows(workspace.store, promotion, count):
        about = json.loads(row.signals)
        signals = tuple(Signal(**one) for one in about["signals"])
        found.append(
            Window(
                row.id,
                tuple(json.loads(row.images)),
                signals,
                tuple(about["strangest"]),
                bool(row.drifted),
                row.at,
            )
        )
    return found


def explain(window: Window) -> str:
    """Say in what a window differs from the references."""
    words = {
        "embedding": "embeddings differ by {effect:.2f} standard deviations",
        "boxes": "the distribution of boxes per image differs by {effect:.2f}",
        "score": "the distribution of the best score per image differs by {effect:.2f}",
    }
    said = [words[s.name].format(effect=s.effect) + f" (p = {s.p:.2g})" for s in window.signals if s.drifted]
    return f"{'; '.join(said)} in window {window.id}, {len(window.images)} images" if said else "no drift"


def raise_alarm(
    workspace: Workspace, trigger: str, reason: str, cooldown_h: float, first_window: int | None
) -> None:
    """Raise an alarm unless one is open, or one was raised less than the cooldown ago."""
    if open_alarm(workspace, trigger) is not None:
        return
    last = monitor_tables.newest_alarm_time(workspace.store, trigger)
    if last is not None:
        since = datetime.fromisoformat(now()) - datetime.fromisoformat(last)
        # An alarm of a time to come was raised by a clock that was wrong: it silences nothing.
        if timedelta(0) <= since < timedelta(hours=cooldown_h):
            return
    monitor_tables.insert_alarm(workspace.store, trigger, reason, first_window, now())


def open_alarm(workspace: Workspace, trigger: str) -> str | None:
    """Return the reason of the alarm that neither a later cycle nor another model has answered; one that was abandoned answers none."""
    return monitor_tables.open_alarm(workspace.store, trigger)
