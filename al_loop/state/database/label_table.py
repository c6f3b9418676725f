"""Rows of labels: what people have drawn, with ignore regions and the sets that models are judged on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from al_loop.state.database.store import Store
from al_loop.structures.metrics import VALIDATION

#: Statuses of labels to learn from.
_DRAWN = "l.status IN ('labelled', 'empty')"
_POOL = "FROM labels l CROSS JOIN images i ON i.id = l.image_id WHERE i.role = 'pool'"


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """An image with its label.

    file, stored_sha256, width, height: as in `image_table.ImageRow`.
    boxes, ignored: JSON [[x1, y1, x2, y2, class index], ...] in px; ignored: None without any.
    outlines: JSON, one for each of `boxes`; None where they were not read, or nobody has drawn any.
    """

    id: str
    file: str
    stored_sha256: str
    width: int
    height: int
    boxes: str
    ignored: str | None
    outlines: str | None


_LABELLED = "i.id, i.file, i.stored_sha256, i.width, i.height, l.boxes, r.boxes AS ignored"


@dataclass(frozen=True, slots=True)
class FullLabel:
    """A label of any status, with the role of its image and the sets (JSON) that it is in."""

    image_id: str
    status: str
    boxes: str
    cycle: int | None
    annotator: str | None
    lead_time_s: float | None
    updated_at: str
    outlines: str | None
    ignored: str | None
    role: str
    sets: str


@dataclass(frozen=True, slots=True)
class NewLabel:
    """A label to be written; fields as in `FullLabel`."""

    image_id: str
    status: str
    boxes: str
    updated_at: str
    cycle: int | None = None
    annotator: str | None = None
    lead_time_s: float | None = None
    outlines: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedLabel:
    """A label as it is examined; replaced: whether an older label can be restored."""

    image_id: str
    status: str
    boxes: str
    outlines: str | None
    ignored: str | None
    cycle: int | None
    width: int
    height: int
    role: str
    replaced: int


@dataclass(frozen=True, slots=True)
class TimedLabel:
    """How long a person needed for an image with so many boxes."""

    image_id: str
    lead_time_s: float
    boxes: int


@dataclass(frozen=True, slots=True)
class SetCounts:
    """Of a set that models are judged on: images, boxes, images without a box, ignore regions."""

    images: int
    boxes: int
    empty: int
    ignored: int


@dataclass(frozen=True, slots=True)
class LabelCost:
    """What people have spent: images, boxes, seconds, and on how many images the time is known."""

    images: int
    boxes: int
    seconds: float
    timed: int


def write_label(store: Store, label: NewLabel) -> None:
    """Give an image a label; the database keeps the one that it replaces."""
    store.execute(
        "INSERT OR REPLACE INTO labels "
        "(image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(label.image_id, label.status, label.boxes, label.cycle, label.annotator, label.lead_time_s),
        *(label.updated_at, label.outlines),
    )


def take_back_label(store: Store, image_id: str, cycle: int) -> None:
    """Delete the label that an image was given in a cycle."""
    store.execute("DELETE FROM labels WHERE image_id = ? AND cycle = ?", image_id, cycle)


def write_ignore_regions(store: Store, image_id: str, boxes: str | None) -> None:
    """Replace the ignore regions of an image; None: it has none."""
    store.execute("DELETE FROM ignore_regions WHERE image_id = ?", image_id)
    if boxes is not None:
        store.execute("INSERT INTO ignore_regions (image_id, boxes) VALUES (?, ?)", image_id, boxes)


def labelled_images(store: Store, *, outlines: bool = False) -> list[LabelledRow]:
    """Return the images of the pool with labels to learn from, by id; outlines: read these too."""
    return store.all(
        LabelledRow,
        f"SELECT {_LABELLED}, {'l.outlines' if outlines else 'NULL AS outlines'} "
        "FROM labels l CROSS JOIN images i ON i.id = l.image_id LEFT JOIN ignore_regions r ON r.image_id = i.id "
        f"WHERE i.role = 'pool' AND {_DRAWN} ORDER BY i.id",
    )


def images_of_set(store: Store, name: str) -> list[LabelledRow]:
    """Return the images of a set that models are judged on, by id."""
    return store.all(
        LabelledRow,
        f"SELECT {_LABELLED}, NULL AS outlines FROM sets s JOIN images i ON i.id = s.image_id "
        "JOIN labels l ON l.image_id = i.id LEFT JOIN ignore_regions r ON r.image_id = i.id "
        f"WHERE s.name = ? AND {_DRAWN} ORDER BY i.id",
        name,
    )


def find_labels(store: Store, ids: Sequence[str]) -> list[FullLabel]:
    """Return the labels of those of the images that have one, of any status, by image."""
    return store.all(
        FullLabel,
        "SELECT * FROM full_labels WHERE image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id",
        json.dumps(list(ids)),
    )


def drawn_boxes(store: Store) -> dict[str, str]:
    """Return the boxes (JSON) of the images of the pool with labels to learn from, by image."""
    return {
        row["image_id"]: row["boxes"]
        for row in store.rows(f"SELECT l.image_id, l.boxes {_POOL} AND {_DRAWN}")
    }


def status_counts(store: Store) -> dict[str, int]:
    """Return how many images of the pool have a label of each status."""
    rows = store.rows(f"SELECT l.status, count(*) AS images {_POOL} GROUP BY 1")
    return {row["status"]: row["images"] for row in rows}


def status_counts_of_cycle(store: Store, cycle: int) -> dict[str, int]:
    """Return how many labels of each status a cycle has given, by status."""
    rows = store.rows(
        "SELECT status, count(*) AS images FROM labels WHERE cycle = ? GROUP BY status ORDER BY status", cycle
    )
    return {row["status"]: row["images"] for row in rows}


def labels_until(store: Store, cycle: int) -> int:
    """Return how many images of the pool had labels to learn from when a cycle ended."""
    return store.count(f"SELECT count(*) {_POOL} AND {_DRAWN} AND coalesce(l.cycle, 0) <= ?", cycle)


def boxes_until(store: Store, cycle: int | None) -> int:
    """Return how many boxes people have drawn on the pool until a cycle ended; None: until now."""
    return store.count(
        f"SELECT coalesce(sum(json_array_length(l.boxes)), 0) {_POOL} AND (? IS NULL OR coalesce(l.cycle, 0) <= ?)",
        *(cycle, cycle),
    )


def label_cost(store: Store, cycle: int | None) -> LabelCost:
    """Return what people have spent on a cycle; None: on the whole pool."""
    return store.all(
        LabelCost,
        "SELECT count(*) AS images, coalesce(sum(json_array_length(l.boxes)), 0) AS boxes, "
        "coalesce(sum(l.lead_time_s), 0) AS seconds, count(l.lead_time_s) AS timed "
        f"{_POOL} AND (? IS NULL OR l.cycle = ?)",
        *(cycle, cycle),
    )[0]


def timed_labels(store: Store) -> list[TimedLabel]:
    """Return the labels of which the time is known, skipped ones left out, by image."""
    return store.all(
        TimedLabel,
        "SELECT image_id, lead_time_s, json_array_length(boxes) AS boxes FROM labels "
        "WHERE lead_time_s > 0 AND status != 'skipped' ORDER BY image_id",
    )


def stream_labels(store: Store) -> Iterator[CheckedLabel]:
    """Yield all labels by image, one at a time."""
    return store.stream(
        CheckedLabel,
        "SELECT l.image_id, l.status, l.boxes, l.outlines, r.boxes AS ignored, l.cycle, i.width, i.height, i.role, "
        "EXISTS (SELECT 1 FROM label_history h WHERE h.image_id = l.image_id) AS replaced "
        "FROM labels l JOIN images i ON i.id = l.image_id "
        "LEFT JOIN ignore_regions r ON r.image_id = l.image_id ORDER BY l.image_id",
    )


def add_to_set(store: Store, name: str, image_id: str) -> None:
    """Make an image part of a set that models are judged on."""
    store.execute("INSERT OR IGNORE INTO sets VALUES (?, ?)", name, image_id)


def set_names(store: Store) -> list[str]:
    """Return the sets that models are judged on, the validation set first."""
    return store.column("SELECT DISTINCT name FROM sets ORDER BY name != ?, name", VALIDATION)


def set_size(store: Store, name: str) -> int:
    """Return how many images a set has."""
    return store.count("SELECT count(*) FROM sets WHERE name = ?", name)


def images_in_sets(store: Store) -> set[str]:
    """Return all images that models are judged on."""
    return set(store.column("SELECT DISTINCT image_id FROM sets"))


def set_counts(store: Store, name: str) -> SetCounts:
    """Count what a set shows."""
    return store.all(
        SetCounts,
        "SELECT count(*) AS images, coalesce(sum(json_array_length(l.boxes)), 0) AS boxes, "
        "coalesce(sum(l.boxes = '[]'), 0) AS empty, coalesce(sum(json_array_length(r.boxes)), 0) AS ignored "
        "FROM sets s JOIN labels l ON l.image_id = s.image_id "
        f"LEFT JOIN ignore_regions r ON r.image_id = s.image_id WHERE s.name = ? AND {_DRAWN}",
        name,
    )[0]


def classes_in_set(store: Store, name: str) -> set[int]:
    """Return the indices of the classes that a set has boxes of."""
    values = store.column(
        "SELECT DISTINCT box.value ->> 4 FROM sets s JOIN labels l ON l.image_id = s.image_id, "
        "json_each(l.boxes) box WHERE s.name = ? AND l.status = 'labelled'",
        name,
    )
    return set(map(int, values))


def boxes_in_set(store: Store, name: str) -> Iterator[str]:
    """Yield the boxes (JSON) of each image of a set, also damaged ones."""
    rows = store.execute(
        "SELECT l.boxes FROM sets s JOIN labels l ON l.image_id = s.image_id WHERE s.name = ?", name
    )
    return (boxes for (boxes,) in rows)


@dataclass(frozen=True, slots=True)
class SetMember:
    """An image in a set; replaced: whether an older label can be restored."""

    name: str
    image_id: str
    replaced: int


def unlabelled_in_sets(store: Store) -> list[SetMember]:
    """Return the members of sets without a label to judge by."""
    return store.all(
        SetMember,
        "SELECT s.name, s.image_id, EXISTS (SELECT 1 FROM label_history h WHERE h.image_id = s.image_id) AS replaced "
        f"FROM sets s LEFT JOIN labels l ON l.image_id = s.image_id AND {_DRAWN} "
        "WHERE l.image_id IS NULL ORDER BY s.name, s.image_id",
    )


def set_members_in_pool(store: Store) -> list[tuple[str, str]]:
    """Return (set, image) of the images that models are judged on and that are in the pool, too."""
    rows = store.rows(
        "SELECT s.name, i.id FROM sets s JOIN images i ON i.id = s.image_id WHERE i.role = 'pool' ORDER BY i.id"
    )
    return [(row["name"], row["id"]) for row in rows]
