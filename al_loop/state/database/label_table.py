"""Rows of labels and ignore regions that people have drawn, and of the evaluation sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from al_loop.state.database.store import Store
from al_loop.structures.metrics import VALIDATION

#: Condition for labels to train on.
_DRAWN = "l.status IN ('labelled', 'empty')"
_POOL = "FROM labels l CROSS JOIN images i ON i.id = l.image_id WHERE i.role = 'pool'"
_IN_SET = "FROM sets s JOIN labels l ON l.image_id = s.image_id"
_REGIONS = "LEFT JOIN ignore_regions r ON r.image_id = l.image_id"
#: The columns of a `LabelledRow` except outlines, of images i, labels l and ignore regions r.
LABELLED = "i.id, i.file, i.stored_sha256, i.width, i.height, l.boxes, r.boxes AS ignored"
#: A task that was open for more than this many medians does not count.
_LEFT_OPEN = 10.0
_RESTORABLE = "EXISTS (SELECT 1 FROM label_history h WHERE h.image_id = {}) AS replaced"


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """An image with its label.

    file, stored_sha256, width, height: as in `image_table.ImageRow`.
    boxes, ignored: JSON [[x1, y1, x2, y2, class index], ...] in px. ignored is None without ignore regions.
    outlines: JSON, one outline for each of `boxes`. None if no outline was drawn or read.
    """

    id: str
    file: str
    stored_sha256: str
    width: int
    height: int
    boxes: str
    ignored: str | None
    outlines: str | None


@dataclass(frozen=True, slots=True)
class NewLabel:
    """A label to write.

    status: 'labelled', 'empty' or 'skipped'.
    boxes, outlines: as in `LabelledRow`.
    cycle: None for a label that no cycle asked for.
    annotator: the person; for a label of a COCO file to train on, the name of the file; for a photograph that
        was added as healthy, the command.
    """

    image_id: str
    status: str
    boxes: str
    updated_at: str
    cycle: int | None = None
    annotator: str | None = None
    lead_time_s: float | None = None
    outlines: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullLabel(NewLabel):
    """A label with the ignore regions, the role and the sets (JSON) of its image."""

    ignored: str | None
    role: str
    sets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLabel(FullLabel):
    """A label to check. replaced: whether an older label can be restored."""

    width: int
    height: int
    replaced: int


@dataclass(frozen=True, slots=True)
class TimedLabel:
    """The seconds that a person needed to label an image, and its number of boxes."""

    image_id: str
    lead_time_s: float
    boxes: int


@dataclass(frozen=True, slots=True)
class SetCounts:
    """Numbers of images, boxes, images without a box, and ignore regions of an evaluation set."""

    images: int
    boxes: int
    empty: int
    ignored: int


@dataclass(frozen=True, slots=True)
class LabelCost:
    """Numbers of labelled images, boxes, seconds, and images with a known time."""

    images: int
    boxes: int
    seconds: float
    timed: int


@dataclass(frozen=True, slots=True)
class SetMember:
    """An image in a set. replaced: whether an older label can be restored."""

    name: str
    image_id: str
    replaced: int


def write_label(store: Store, label: NewLabel) -> None:
    """Store a label. The database moves the replaced label to the history."""
    store.insert("labels", [label], "REPLACE")


def imported_images(store: Store) -> set[str]:
    """Return the images of the pool whose label no cycle asked for: of COCO files, or added as healthy."""
    return set(store.column(f"SELECT l.image_id {_POOL} AND l.cycle IS NULL"))


def delete_label(store: Store, image_id: str, cycle: int) -> None:
    """Delete the label that a cycle gave an image."""
    store.execute("DELETE FROM labels WHERE image_id = ? AND cycle = ?", image_id, cycle)


def write_ignore_regions(store: Store, image_id: str, boxes: str | None) -> None:
    """Replace the ignore regions of an image. boxes: None to delete the regions."""
    store.execute("DELETE FROM ignore_regions WHERE image_id = ?", image_id)
    if boxes is not None:
        store.execute("INSERT INTO ignore_regions (image_id, boxes) VALUES (?, ?)", image_id, boxes)


def labelled_images(store: Store, *, outlines: bool = False) -> list[LabelledRow]:
    """Return the images of the pool with labels to train on, by id. outlines: read outlines, too."""
    return store.all(
        LabelledRow,
        f"SELECT {LABELLED}, {'l.outlines' if outlines else 'NULL AS outlines'} "
        f"FROM labels l CROSS JOIN images i ON i.id = l.image_id {_REGIONS} "
        f"WHERE i.role = 'pool' AND {_DRAWN} ORDER BY i.id",
    )


def images_of_set(store: Store, name: str, *, outlines: bool = False) -> list[LabelledRow]:
    """Return the images of an evaluation set, by id. outlines: read outlines, too."""
    return store.all(
        LabelledRow,
        f"SELECT {LABELLED}, {'l.outlines' if outlines else 'NULL AS outlines'} "
        f"{_IN_SET} JOIN images i ON i.id = s.image_id {_REGIONS} "
        f"WHERE s.name = ? AND {_DRAWN} ORDER BY i.id",
        name,
    )


def find_labels(store: Store, ids: Sequence[str]) -> list[FullLabel]:
    """Return the existing labels of these images, of any status, by image."""
    named = "image_id IN (SELECT value FROM json_each(?))"
    sql = f"SELECT * FROM full_labels WHERE {named} ORDER BY image_id"
    return store.all(FullLabel, sql, json.dumps(list(ids)))


def drawn_boxes(store: Store) -> dict[str, str]:
    """Return the boxes (JSON) of the images of the pool with labels to train on, by image."""
    return dict(store.pairs(f"SELECT l.image_id, l.boxes {_POOL} AND {_DRAWN}"))


def drawn_in_cycles(store: Store) -> dict[str, int]:
    """Return the cycle that asked for each label to train on, by image of the pool."""
    return dict(store.pairs(f"SELECT l.image_id, l.cycle {_POOL} AND {_DRAWN} AND l.cycle IS NOT NULL"))


def status_counts(store: Store) -> dict[str, int]:
    """Return the number of images of the pool by the status of their label."""
    return dict(store.pairs(f"SELECT l.status, count(*) {_POOL} GROUP BY 1"))


def status_counts_of_cycle(store: Store, cycle: int) -> dict[str, int]:
    """Return the number of labels of a cycle by status."""
    counts = "SELECT status, count(*) FROM labels WHERE cycle = ? GROUP BY 1 ORDER BY 1"
    return dict(store.pairs(counts, cycle))


def labels_until(store: Store, cycle: int) -> int:
    """Return the number of images of the pool with labels to train on at the end of a cycle."""
    return store.count(f"SELECT count(*) {_POOL} AND {_DRAWN} AND coalesce(l.cycle, 0) <= ?", cycle)


def label_cost(store: Store, cycle: int | None = None, *, until: int | None = None) -> LabelCost:
    """Return the cost of labels.

    cycle: count the labels of this cycle only.
    until: count the labels until the end of this cycle.
    """
    return store.all(
        LabelCost,
        "SELECT count(*) AS images, coalesce(sum(json_array_length(l.boxes)), 0) AS boxes, "
        "coalesce(sum(l.lead_time_s), 0) AS seconds, count(l.lead_time_s) AS timed "
        f"{_POOL} AND (? IS NULL OR l.cycle = ?) AND (? IS NULL OR coalesce(l.cycle, 0) <= ?)",
        *(cycle, cycle, until, until),
    )[0]


def timed_labels(store: Store) -> list[TimedLabel]:
    """Return the labels with a known time, without skipped ones, by image.

    Without tasks that were open for more than _LEFT_OPEN medians: nobody worked on them all the time.
    """
    rows = store.all(
        TimedLabel,
        "SELECT image_id, lead_time_s, json_array_length(boxes) AS boxes FROM labels "
        "WHERE lead_time_s > 0 AND status != 'skipped' ORDER BY image_id",
    )
    longest = longest_time([row.lead_time_s for row in rows])
    return [row for row in rows if row.lead_time_s <= longest]


def longest_time(seconds: Sequence[float]) -> float:
    """Return the longest time of an answer that counts, s: _LEFT_OPEN medians of the times of all answers."""
    return _LEFT_OPEN * median(seconds) if len(seconds) else 0.0


def stream_labels(store: Store) -> Iterator[CheckedLabel]:
    """Yield all labels by image, one at a time."""
    return store.stream(
        CheckedLabel,
        f"SELECT f.*, i.width, i.height, {_RESTORABLE.format('f.image_id')} "
        "FROM full_labels f JOIN images i ON i.id = f.image_id ORDER BY f.image_id",
    )


def add_to_set(store: Store, name: str, image_id: str) -> None:
    """Add an image to an evaluation set."""
    store.execute("INSERT OR IGNORE INTO sets VALUES (?, ?)", name, image_id)


def set_names(store: Store) -> list[str]:
    """Return the names of the evaluation sets, the validation set first."""
    return store.column("SELECT DISTINCT name FROM sets ORDER BY name != ?, name", VALIDATION)


def set_size(store: Store, name: str) -> int:
    """Return the number of images of a set."""
    return store.count("SELECT count(*) FROM sets WHERE name = ?", name)


def images_in_sets(store: Store) -> set[str]:
    """Return the images of all evaluation sets."""
    return set(store.column("SELECT DISTINCT image_id FROM sets"))


def set_counts(store: Store, name: str) -> SetCounts:
    """Count images, boxes and ignore regions of a set."""
    return store.all(
        SetCounts,
        "SELECT count(*) AS images, coalesce(sum(json_array_length(l.boxes)), 0) AS boxes, "
        "coalesce(sum(l.boxes = '[]'), 0) AS empty, coalesce(sum(json_array_length(r.boxes)), 0) AS ignored "
        f"{_IN_SET} {_REGIONS} WHERE s.name = ? AND {_DRAWN}",
        name,
    )[0]


def classes_in_set(store: Store, name: str) -> set[int]:
    """Return the indices of the classes with a box in a set."""
    values = store.column(
        f"SELECT DISTINCT box.value ->> 4 {_IN_SET}, json_each(l.boxes) box "
        "WHERE s.name = ? AND l.status = 'labelled'",
        name,
    )
    return set(map(int, values))


def boxes_in_set(store: Store, name: str) -> Iterator[str]:
    """Yield the boxes (JSON) of each image of a set, even if they are damaged."""
    return store.stream_column(f"SELECT l.boxes {_IN_SET} WHERE s.name = ?", name)


def unlabelled_in_sets(store: Store) -> list[SetMember]:
    """Return the members of sets without a label to evaluate on."""
    return store.all(
        SetMember,
        f"SELECT s.name, s.image_id, {_RESTORABLE.format('s.image_id')} "
        f"FROM sets s LEFT JOIN labels l ON l.image_id = s.image_id AND {_DRAWN} "
        "WHERE l.image_id IS NULL ORDER BY s.name, s.image_id",
    )


def set_members_in_pool(store: Store) -> list[tuple[str, str]]:
    """Return (set, image) of the images that are in an evaluation set and in the pool."""
    return store.pairs(
        "SELECT s.name, i.id FROM sets s JOIN images i ON i.id = s.image_id "
        "WHERE i.role = 'pool' ORDER BY i.id"
    )
