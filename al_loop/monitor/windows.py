"""Windows of the newest images, in order of arrival. Consecutive drifted windows raise an alarm."""

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
from al_loop.state.database.label_table import imported_images
from al_loop.state.workspace import Workspace, now
from al_loop.structures.predictions import ScoredImages

_MAX_DRIFTED = 8  # images listed of a window


@dataclass(frozen=True)
class Window:
    """An evaluated window. strangest: the images that differ most from the references."""

    id: int
    images: tuple[str, ...]
    signals: tuple[Signal, ...]
    strangest: tuple[str, ...]
    drifted: bool
    at: str


def waiting(workspace: Workspace, baseline: Baseline) -> list[str]:
    """Return the images that are in no window yet, in order of arrival.

    Images that were imported with their labels are left out: they are no sample of what arrives.
    """
    windowed = monitor_tables.windowed_until(workspace.store, baseline.promotion)
    arrived, imported = max(windowed, baseline.arrived), imported_images(workspace.store)
    return [name for name in pool_ids(workspace.store, after=arrived) if name not in imported]


def evaluate_windows(workspace: Workspace, baseline: Baseline, scored: ScoredImages) -> list[Window]:
    """Evaluate and return every window that is full; raise an alarm if enough have drifted.

    scored: scores of the references and of the waiting images, by the model in use.
    """
    size = workspace.config.monitor.drift.window
    queue, evaluated = waiting(workspace, baseline), []
    if len(queue) < size:
        return []
    all_statistics = image_statistics(scored, workspace.config.label_studio.usual_min_score)
    place = {name: i for i, name in enumerate(scored.image_ids)}

    def statistics(ids: Sequence[str]) -> ImageStatistics:
        return all_statistics.take([place[name] for name in ids])

    def scored_of(ids: Sequence[str]) -> list[str]:
        return [name for name in ids if name in place]

    drawn = {name: scored_of(ids) for name, ids in baseline.drawn.items()}
    references = {name: statistics(ids) for name, ids in drawn.items() if len(ids) >= 2}
    for start in range(0, len(queue) - size + 1, size):
        images = queue[start : start + size]
        known = scored_of(images)
        window = known, statistics(known)
        evaluated.append(_evaluate(workspace, baseline.promotion, references, images, window))
    return evaluated


def _evaluate(
    workspace: Workspace,
    promotion: int,
    references: dict[str, ImageStatistics],
    images: Sequence[str],
    window: tuple[list[str], ImageStatistics],
) -> Window:
    """Evaluate one window and record it, with the alarm that it may raise; window: its scored images."""
    rule, store = workspace.config.monitor.drift, workspace.store
    number = 1 + monitor_tables.last_window_number(store)
    signals: tuple[Signal, ...] = ()
    strangest: tuple[str, ...] = ()
    names, statistics = window
    if references and len(names) >= 2:
        rng = np.random.default_rng(np.random.SeedSequence([workspace.config.cycle.seed, number]))
        signals = drift_signals(references, statistics, rule, rng)
        strangest = tuple(names[row] for row, _ in most_drifted(references, statistics, _MAX_DRIFTED))
    found = Window(number, tuple(images), signals, strangest, any(s.drifted for s in signals), now())
    with store.transaction():
        about = json.dumps({"signals": [asdict(s) for s in signals], "strangest": strangest})
        monitor_tables.insert_window(store, number, promotion, images, about, found.drifted, found.at)
        row = windows_of(workspace, promotion, rule.consecutive_windows)
        if len(row) == rule.consecutive_windows and all(one.drifted for one in row):
            raise_alarm(workspace, "drift", explain(row[-1]), rule.cooldown_h, row[0].id)
    return found


def windows_of(workspace: Workspace, promotion: int, count: int) -> list[Window]:
    """Return the newest windows since a promotion, oldest first."""
    found = []
    for row in monitor_tables.newest_windows(workspace.store, promotion, count):
        about = json.loads(row.signals)
        signals = tuple(Signal(**one) for one in about["signals"])
        images, strangest = tuple(json.loads(row.images)), tuple(about["strangest"])
        found.append(Window(row.id, images, signals, strangest, bool(row.drifted), row.at))
    return found


def explain(window: Window) -> str:
    """Return how a window differs from the references."""
    words = {
        "embedding": "embeddings differ by {:.2f} standard deviations",
        "boxes": "the distribution of boxes per image differs by {:.2f}",
        "score": "the distribution of the best score per image differs by {:.2f}",
    }
    texts = [f"{words[s.name].format(s.effect)} (p = {s.p:.2g})" for s in window.signals if s.drifted]
    return f"{'; '.join(texts)} in window {window.id}, {len(window.images)} images" if texts else "no drift"


def raise_alarm(
    workspace: Workspace, trigger: str, reason: str, cooldown_h: float, first_window: int | None
) -> None:
    """Raise an alarm, unless one is open or the newest is younger than the cooldown."""
    if open_alarm(workspace, trigger) is not None:
        return
    last = monitor_tables.newest_alarm_time(workspace.store, trigger)
    if last is not None:
        age = datetime.fromisoformat(now()) - datetime.fromisoformat(last)
        if timedelta(0) <= age < timedelta(hours=cooldown_h):  # negative: the clock was wrong
            return
    monitor_tables.insert_alarm(workspace.store, trigger, reason, first_window, now())


def open_alarm(workspace: Workspace, trigger: str) -> str | None:
    """Return the reason of the alarm that no later cycle and no other model has answered."""
    return monitor_tables.open_alarm(workspace.store, trigger)
