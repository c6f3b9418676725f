"""Rows of picks: the images that cycles have picked for people to label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from al_loop.state.database.label_table import LABELLED, LabelledRow
from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class PickRow:
    """An image that a cycle has picked.

    rank: from 0, in the order of the queue.
    state: 'known', 'selected', 'kept', or the state of its task on the labelling server.
    audit: 1 if it was drawn at random, to measure the model.
    validation: 1 if it was drawn at random for the validation set.
    """

    cycle: int
    rank: int
    image_id: str
    uncertainty: float
    reason: str
    task_key: str
    state: str
    audit: int
    validation: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class PickedImage(PickRow):
    """A pick with its image, for the report and the manifest."""

    file: str
    stored_sha256: str
    width: int
    height: int
    source: str


@dataclass(frozen=True, slots=True)
class ExpectedPick:
    """A pick with a task on the labelling server, and the current label of its image.

    pulled_at: time of the newest answer that its cycle has pulled, also if another label has replaced it.
    """

    task_key: str
    image_id: str
    cycle: int
    width: int
    height: int
    status: str | None
    boxes: str | None
    outlines: str | None
    pulled_at: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRow(LabelledRow):
    """A labelled image that was drawn at random, with number, model and settings of its cycle."""

    number: int
    model_id: str
    settings: str


_ANSWERS = (
    "SELECT updated_at FROM labels WHERE image_id = p.image_id AND cycle = p.cycle UNION ALL "
    "SELECT updated_at FROM label_history WHERE image_id = p.image_id AND cycle = p.cycle"
)
_WITH_IMAGE = "FROM picks p JOIN images i ON i.id = p.image_id"
_EXPECTED = (
    "SELECT p.task_key, p.image_id, p.cycle, i.width, i.height, l.status, l.boxes, l.outlines, "
    f"(SELECT max(updated_at) FROM ({_ANSWERS})) AS pulled_at "
    f"{_WITH_IMAGE} LEFT JOIN labels l ON l.image_id = p.image_id WHERE i.role = 'pool'"
)


def insert_picks(store: Store, picks: Iterable[PickRow]) -> None:
    """Store picks. Existing picks do not change."""
    store.insert("picks", picks, "IGNORE")


def picks_of(store: Store, cycle: int) -> list[PickRow]:
    """Return the picks of a cycle by rank."""
    return store.all(PickRow, "SELECT * FROM picks WHERE cycle = ? ORDER BY rank", cycle)


def picked_images(store: Store, cycle: int | None = None) -> list[PickedImage]:
    """Return the picks of a cycle, or of all cycles, with their images, by cycle and rank."""
    return store.all(
        PickedImage,
        f"SELECT p.*, i.file, i.stored_sha256, i.width, i.height, i.source {_WITH_IMAGE} "
        "WHERE ? IS NULL OR p.cycle = ? ORDER BY p.cycle, p.rank",
        *(cycle, cycle),
    )


def open_picks(store: Store, cycle: int) -> list[PickRow]:
    """Return the picks of a cycle that wait for people, by rank."""
    return _picks_in_pool(store, cycle, "p.state IN ('selected', 'pending', 'draft', 'refused')")


def pushed_picks(store: Store, cycle: int) -> list[PickRow]:
    """Return the picks of a cycle that people label, whatever their state, by rank."""
    return _picks_in_pool(store, cycle, "p.state NOT IN ('known', 'kept', 'deleted')")


def _picks_in_pool(store: Store, cycle: int, condition: str) -> list[PickRow]:
    return store.all(
        PickRow,
        f"SELECT p.* {_WITH_IMAGE} WHERE p.cycle = ? AND i.role = 'pool' AND {condition} ORDER BY p.rank",
        cycle,
    )


def expected_picks(store: Store, cycle: int) -> list[ExpectedPick]:
    """Return the picks of a cycle that have tasks on the labelling server, by rank."""
    condition = "p.cycle = ? AND p.state NOT IN ('known', 'kept') ORDER BY p.rank"
    return store.all(ExpectedPick, f"{_EXPECTED} AND {condition}", cycle)


def earlier_picks(store: Store, cycle: int) -> list[ExpectedPick]:
    """Return the picks of cycles before `cycle` whose images no later cycle has labelled."""
    condition = "p.cycle < ? AND p.state NOT IN ('known', 'kept', 'selected')"
    return store.all(ExpectedPick, f"{_EXPECTED} AND {condition} AND coalesce(l.cycle, 0) <= p.cycle", cycle)


def kept_picks(store: Store, cycle: int) -> set[str]:
    """Return the images of a cycle that were answered in an abandoned project."""
    return set(store.column("SELECT image_id FROM picks WHERE cycle = ? AND state = 'kept'", cycle))


def set_pick_state(store: Store, cycle: int, image_id: str, state: str) -> None:
    """Store the state of a pick's task on the labelling server."""
    store.execute("UPDATE picks SET state = ? WHERE cycle = ? AND image_id = ?", state, cycle, image_id)


def keep_answered_picks(store: Store, cycle: int | None) -> None:
    """Exclude the answered picks of a cycle from later pushes and pulls."""
    store.execute(
        "UPDATE picks SET state = 'kept' WHERE cycle = ? AND state IN ('labelled', 'empty', 'skipped')", cycle
    )


def expect_selected_picks(store: Store, cycle: int) -> None:
    """Mark the tasks of all selected picks as pushed."""
    store.execute("UPDATE picks SET state = 'pending' WHERE cycle = ? AND state = 'selected'", cycle)


def forget_picks(store: Store, cycle: int) -> None:
    """Delete the picks of a cycle."""
    store.execute("DELETE FROM picks WHERE cycle = ?", cycle)


def unlabelled_picks(store: Store, cycle: int) -> int:
    """Return the number of picks of a cycle without a label."""
    return store.count(
        "SELECT count(*) FROM picks p LEFT JOIN labels l ON l.image_id = p.image_id "
        "WHERE p.cycle = ? AND l.image_id IS NULL",
        cycle,
    )


def labelled_validation_picks(store: Store, cycle: int) -> list[tuple[str, str]]:
    """Return (image, boxes as JSON) of a cycle's labelled picks for the validation set, not yet in it."""
    return store.pairs(
        f"SELECT p.image_id, l.boxes {_WITH_IMAGE} JOIN labels l ON l.image_id = p.image_id "
        "WHERE p.cycle = ? AND p.validation = 1 AND i.role = 'pool' AND l.status IN ('labelled', 'empty')",
        cycle,
    )


def newest_audit(store: Store, count: int) -> list[AuditRow]:
    """Return the newest labelled images that were drawn at random, the newest cycle first."""
    return store.all(
        AuditRow,
        f"SELECT {LABELLED}, NULL AS outlines, c.number, c.model_id, c.settings {_WITH_IMAGE} "
        "JOIN cycles c ON c.number = p.cycle JOIN labels l ON l.image_id = p.image_id "
        "LEFT JOIN ignore_regions r ON r.image_id = p.image_id "
        "WHERE p.audit = 1 AND l.cycle = p.cycle AND l.status IN ('labelled', 'empty') "
        "ORDER BY p.cycle DESC, p.rank LIMIT ?",
        count,
    )
