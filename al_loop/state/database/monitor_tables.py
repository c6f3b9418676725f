"""Rows of the monitor: baselines, windows, alarms and looks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from al_loop.state.database.image_table import LAST_ARRIVED
from al_loop.state.database.store import Store

_CURRENT = "(SELECT max(id) FROM promotions)"


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """References of a promotion: `drawn` is JSON {name: [image, ...]}, windows begin after `arrived`."""

    promotion: int
    arrived: int
    drawn: str


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window: its images (JSON), its signals (JSON), and whether it has drifted (1 or 0)."""

    id: int
    promotion: int
    arrived: int
    images: str
    signals: str
    drifted: int
    at: str


@dataclass(frozen=True, slots=True)
class LookRow:
    """A look: current model, last image, numbers and verdicts (JSON), and the cycle that it began."""

    id: int
    at: str
    model_id: str
    arrived: int
    numbers: str
    verdicts: str
    cycle: int | None


def read_baseline(store: Store, promotion: int) -> BaselineRow | None:
    """Return the references of a promotion."""
    return store.first(BaselineRow, "SELECT * FROM baselines WHERE promotion = ?", promotion)


def insert_baseline(store: Store, row: BaselineRow) -> None:
    """Store the references of a promotion."""
    store.insert("baselines", [row])


def drift_beginnings(store: Store, limit: int) -> list[tuple[int, int]]:
    """Return (alarm, `arrived` of the first image of its first window) of the newest drift alarms."""
    return store.pairs(
        "SELECT a.id, min(i.arrived) FROM alarms a JOIN windows w ON w.id = a.first_window "
        "JOIN images i ON i.id IN (SELECT value FROM json_each(w.images)) "
        "WHERE a.trigger = 'drift' GROUP BY a.id ORDER BY a.id DESC LIMIT ?",
        limit,
    )


def last_window_number(store: Store) -> int:
    """Return the number of the newest window, or 0 without windows."""
    return store.count("SELECT coalesce(max(id), 0) FROM windows")


def windowed_until(store: Store, promotion: int) -> int:
    """Return the last `arrived` in the windows of a promotion, or 0 without windows."""
    return store.count("SELECT coalesce(max(arrived), 0) FROM windows WHERE promotion = ?", promotion)


def insert_window(
    store: Store, number: int, promotion: int, images: Sequence[str], signals: str, drifted: bool, at: str
) -> None:
    """Store a window. signals: JSON."""
    listed = json.dumps(list(images))
    last = store.count("SELECT max(arrived) FROM images WHERE id IN (SELECT value FROM json_each(?))", listed)
    store.insert("windows", [WindowRow(number, promotion, last, listed, signals, int(drifted), at)])


def newest_windows(store: Store, promotion: int, count: int) -> list[WindowRow]:
    """Return the newest windows since a promotion, the oldest first."""
    rows = "SELECT * FROM windows WHERE promotion = ? ORDER BY id DESC LIMIT ?"
    return store.all(WindowRow, rows, promotion, count)[::-1]


def windows_with_models(store: Store, count: int) -> list[tuple[WindowRow, str]]:
    """Return the newest windows, each with the model that was current then, the oldest first."""
    rows = store.all(WindowRow, "SELECT * FROM windows ORDER BY id DESC LIMIT ?", count)
    models = dict(store.pairs("SELECT id, model_id FROM promotions"))
    return [(row, models[row.promotion]) for row in rows[::-1]]


def insert_alarm(store: Store, trigger: str, reason: str, first_window: int | None, at: str) -> None:
    """Raise an alarm. first_window: window in which a drift begins."""
    store.execute(
        "INSERT INTO alarms (trigger, reason, promotion, cycle, first_window, at) VALUES "
        f"(?, ?, {_CURRENT}, (SELECT coalesce(max(number), 0) FROM cycles), ?, ?)",
        *(trigger, reason, first_window, at),
    )


def open_alarm(store: Store, trigger: str) -> str | None:
    """Return the reason of the open alarm.

    A later cycle, unless abandoned, or a new model closes an alarm.
    """
    return store.text(
        f"SELECT reason FROM alarms WHERE trigger = ? AND promotion = {_CURRENT} AND cycle >= "
        "(SELECT coalesce(max(number), 0) FROM cycles WHERE outcome IS NOT 'abandoned') "
        "ORDER BY id DESC LIMIT 1",
        trigger,
    )


def newest_alarm_time(store: Store, trigger: str) -> str | None:
    """Return the time of the newest alarm of a trigger."""
    return store.text("SELECT at FROM alarms WHERE trigger = ? ORDER BY id DESC LIMIT 1", trigger)


def first_windows_of_alarms(store: Store) -> list[int]:
    """Return the windows where reported drifts begin."""
    return store.column("SELECT first_window FROM alarms WHERE first_window IS NOT NULL")


def newest_look(store: Store) -> LookRow | None:
    """Return the newest look that found something new."""
    return store.first(LookRow, "SELECT * FROM looks ORDER BY id DESC LIMIT 1")


def insert_look(store: Store, at: str, model_id: str, numbers: str, verdicts: str, cycle: int | None) -> None:
    """Store a look. numbers, verdicts: JSON. cycle: cycle that the look begins."""
    store.execute(
        "INSERT INTO looks (at, model_id, arrived, numbers, verdicts, cycle) "
        f"VALUES (?, ?, {LAST_ARRIVED}, ?, ?, ?)",
        *(at, model_id, numbers, verdicts, cycle),
    )
