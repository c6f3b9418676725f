"""Rows of cycles: when they began, with what, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass

from al_loop.state.database.image_table import LAST_ARRIVED
from al_loop.state.database.store import Store

#: The outcome of an abandoned cycle. The other outcomes are 'promoted' and 'kept'.
ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class CycleRow:
    """A cycle.

    k: number of images to label, as requested.
    settings: JSON, frozen when it began.
    model_id: the model that was current when it began.
    outcome: None while it is open, then 'promoted', 'kept' or 'abandoned'.
    arrived: index of the last image that had arrived when it began.
    validation_images: number of images that it draws for the validation set.
    """

    number: int
    k: int
    settings: str
    model_id: str
    outcome: str | None
    reason: str | None
    started_at: str
    finished_at: str | None
    arrived: int
    validation_images: int = 0


def insert_cycle(store: Store, cycle: CycleRow) -> None:
    """Begin a cycle, which can pick from the images that have arrived."""
    store.insert("cycles", [cycle], arrived=LAST_ARRIVED)


def read_cycle(store: Store, number: int) -> CycleRow | None:
    """Return a cycle by its number."""
    return store.first(CycleRow, "SELECT * FROM cycles WHERE number = ?", number)


def open_cycles(store: Store) -> list[CycleRow]:
    """Return the open cycles: one at most, unless the database was edited."""
    return store.all(CycleRow, "SELECT * FROM cycles WHERE outcome IS NULL ORDER BY number")


def all_cycles(store: Store) -> list[CycleRow]:
    """Return all cycles in order."""
    return store.all(CycleRow, "SELECT * FROM cycles ORDER BY number")


def finished_cycles(store: Store) -> list[CycleRow]:
    """Return the cycles that have ended, abandoned ones included, in order."""
    return [row for row in all_cycles(store) if row.outcome is not None]


def newest_cycle(store: Store, *, abandoned: bool = True) -> CycleRow | None:
    """Return the newest cycle. abandoned: include abandoned cycles."""
    condition = "" if abandoned else "WHERE outcome IS NOT 'abandoned'"
    return store.first(CycleRow, f"SELECT * FROM cycles {condition} ORDER BY number DESC LIMIT 1")


def last_number(store: Store) -> int:
    """Return the number of the newest cycle, or 0 without cycles."""
    return store.count("SELECT coalesce(max(number), 0) FROM cycles")


def complete_numbers(store: Store) -> list[int]:
    """Return the numbers of the finished cycles, without abandoned ones."""
    return store.column("SELECT number FROM cycles WHERE outcome IN ('promoted', 'kept') ORDER BY number")


def refreeze_cycle(store: Store, number: int, settings: str, k: int, validation_images: int) -> None:
    """Replace the frozen settings of a cycle."""
    store.execute(
        "UPDATE cycles SET settings = ?, k = ?, validation_images = ? WHERE number = ?",
        *(settings, k, validation_images, number),
    )


def renew_arrived(store: Store, number: int) -> None:
    """Let a cycle pick from all images that have arrived."""
    store.execute(f"UPDATE cycles SET arrived = {LAST_ARRIVED} WHERE number = ?", number)


def finish_cycle(store: Store, number: int, outcome: str, reason: str, at: str) -> None:
    """End a cycle with its outcome: 'promoted', 'kept' or 'abandoned'."""
    store.execute(
        "UPDATE cycles SET outcome = ?, reason = ?, finished_at = ? WHERE number = ?",
        *(outcome, reason, at, number),
    )
