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
    """References of a promotion: `drawn` is JSON {name: [image, ...]}; windows begin behind `arrived`."""

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
    """A look: the model in use, the last image then, numbers and verdicts (JSON), the cycle that it began."""

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
    """Keep the references of a promotion."""
    store.execute("INSERT INTO baselines VALUES (?, ?, ?)", row.promotion, row.arrived, row.drawn)


def drift_beginnings(store: Store, limit: int) -> list[tuple[int, int]]:
    """Return (alarm, `arrived` of the first image of its first window) of the newest alarms of drift."""
    rows = store.rows(
        "SELECT a.id, min(i.arrived) AS first FROM alarms a JOIN windows w ON w.id = a.first_window "
        "JOIN images i ON i.id IN (SELECT value FROM json_each(w.images)) "
        "WHERE a.trigger = 'drift' GROUP BY a.id ORDER BY a.id DESC LIMIT ?",
        limit,
    )
    return [(row["id"], row["first"]) for row in rows]


def last_window_number(store: Store) -> int:
    """Return the number of the newest window, 0 without any."""
    return store.count("SELECT coalesce(max(id), 0) FROM windows")


def windowed_until(store: Store, promotion: int) -> int:
    """Return the last `arrived` that a window of a promotion has, 0 without any."""
    return store.count("SELECT coalesce(max(arrived), 0) FROM windows WHERE promotion = ?", promotion)


def insert_window(
    store: Store, number: int, promotion: int, images: Sequence[str], signals: str, drifted: bool, at: str
) -> None:
    """Keep a window; signals: JSON."""
    listed = json.dumps(list(images))
    store.execute(
        "INSERT INTO windows VALUES (?, ?, (SELECT max(arrived) FROM images WHERE id IN "
        "(SELECT value FROM json_each(?))), ?, ?, ?, ?)",
        *(number, promotion, listed, listed, signals, int(drifted), at),
    )


def newest_windows(store: Store, promotion: int, count: int) -> list[WindowRow]:
    """Return the newest windows since a promotion, the oldest first."""
    rows = store.all(
        WindowRow, "SELECT * FROM windows WHERE promotion = ? ORDER BY id DESC LIMIT ?", promotion, count
    )
    return rows[::-1]


def windows_with_models(store: Store, count: int) -> list[tuple[WindowRow, str]]:
    """Return the newest windows, each with the model then in use, the oldest first."""
    rows = store.all(WindowRow, "SELECT * FROM windows ORDER BY id DESC LIMIT ?", count)
    models = {row["id"]: str(row["model_id"]) for row in store.rows("SELECT id, model_id FROM promotions")}
    return [(row, models[row.promotion]) for row in rows[::-1]]


def insert_alarm(store: Store, trigger: str, reason: str, first_window: int | None, at: str) -> None:
    """Raise an alarm; first_window: where a drift begins."""
    store.execute(
        "INSERT INTO alarms (trigger, reason, promotion, cycle, first_window, at) VALUES "
        f"(?, ?, {_CURRENT}, (SELECT coalesce(max(number), 0) FROM cycles), ?, ?)",
        *(trigger, reason, first_window, at),
    )


def open_alarm(store: Store, trigger: str) -> str | None:
    """Return the reason of the alarm that neither a later cycle nor another model has answered.

    An abandoned cycle answers none.
    """
    found = store.column(
        f"SELECT reason FROM alarms WHERE trigger = ? AND promotion = {_CURRENT} AND cycle >= "
        "(SELECT coalesce(max(number), 0) FROM cycles WHERE outcome IS NOT 'abandoned') ORDER BY id DESC LIMIT 1",
        trigger,
    )
    return str(found[0]) if found else None


def newest_alarm_time(store: Store, trigger: str) -> str | None:
    """Return when a trigger raised its newest alarm."""
    found = store.column("SELECT at FROM alarms WHERE trigger = ? ORDER BY id DESC LIMIT 1", trigger)
    return str(found[0]) if found else None


def first_windows_of_alarms(store: Store) -> list[int]:
    """Return the windows where reported drifts begin."""
    return store.column("SELECT first_window FROM alarms WHERE first_window IS NOT NULL")


def newest_look(store: Store) -> LookRow | None:
    """Return the newest look that found something new."""
    return store.first(LookRow, "SELECT * FROM looks ORDER BY id DESC LIMIT 1")


def insert_look(store: Store, at: str, model_id: str, numbers: str, verdicts: str, cycle: int | None) -> None:
    """Keep a look; numbers, verdicts: JSON.  cycle: the one that it begins."""
    store.execute(
        "INSERT INTO looks (at, model_id, arrived, numbers, verdicts, cycle) "
        f"VALUES (?, ?, {LAST_ARRIVED}, ?, ?, ?)",
        *(at, model_id, numbers, verdicts, cycle),
    )
