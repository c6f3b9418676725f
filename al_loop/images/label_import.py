"""Match the images of a COCO file with those of the workspace, and write their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.console import Progress
from al_loop.images.coco import CocoSet, Problem
from al_loop.images.identity import hash_known
from al_loop.images.ingest import IngestBatch, IngestReport
from al_loop.images.labelled_sets import (
    CheckedImage,
    checked_images,
    count_phrase,
    deduplicate,
    empty_warning,
    same_boxes,
)
from al_loop.images.repository import KnownLabel, boxes_to_json, labels_of, outlines_to_json
from al_loop.state.database.image_table import image_role, validation_first
from al_loop.state.database.label_history_table import copy_label
from al_loop.state.database.label_table import NewLabel, write_ignore_regions, write_label
from al_loop.state.database.pixel_table import images_with_pixels
from al_loop.state.workspace import Workspace, now


@dataclass
class LabelReport(IngestReport):
    """Outcome of an import of labels, and counts of the set that they belong to.

    labelled: number of images of the pool that had no label.
    replaced: number of labels that labels of the file have replaced.
    evaluated: number of images that are left out because models are evaluated on them.
    alike: number of images with the same label that have left the pool and the training data.
    images, boxes, empty, regions: counts of the complete set after the import.
    outlines: number of boxes of the complete set with an outline; None in a workspace for boxes.
    missing: classes without a box in the complete set.
    warning: warning for a file in which most images have no boxes, else "".
    problems: parts of the file that were left out, joined or converted.
    """

    labelled: int = 0
    replaced: int = 0
    evaluated: int = 0
    alike: int = 0
    images: int = 0
    boxes: int = 0
    empty: int = 0
    regions: int = 0
    outlines: int | None = None
    missing: list[str] = field(default_factory=list)
    warning: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def counts(self) -> str:
        """The counts of the complete set in words."""
        return count_phrase(self.images, self.boxes, self.empty, self.regions, self.outlines)


@dataclass(frozen=True, eq=False)
class Entry:
    """A labelled image, and the ids of known images with the same pixels, evaluation images first."""

    item: CheckedImage
    known: list[str]

    @property
    def id(self) -> str:
        """Id of the image that gets the label."""
        return self.known[0] if self.known else self.item.prepared.id

    def is_same(self, label: KnownLabel) -> bool:
        """Whether a known label equals that of the file."""
        return label.status != "skipped" and self.item.has_labels(label.boxes, label.ignored, outlines=True)


def read_entries(
    workspace: Workspace,
    batch: IngestBatch,
    coco_set: CocoSet,
    coco: Path,
    report: LabelReport,
    on_progress: Progress | None,
) -> tuple[list[Entry], set[str]]:
    """Put the images of a COCO file into a batch. Return the distinct images, and the ids of new ones."""
    stored = IngestReport()
    items, ids = [], []
    for item in checked_images(coco_set, coco, report.refused, on_progress):
        ids.append(batch.put(item.prepared, str(item.path), stored))
        items.append(item.without_data)
    report.warning = empty_warning(len(items), sum(item.empty for item in items))
    report.notes = stored.notes
    fresh = set(stored.added)
    known = [None if image in fresh else image for image in ids]
    return _match_known_images(workspace, items, known, report, on_progress), fresh


def drop_unused(batch: IngestBatch, fresh: set[str], entries: Sequence[Entry]) -> set[str]:
    """Drop the new images that no entry uses. Return the others."""
    used = fresh & {entry.id for entry in entries}
    for image in fresh - used:
        batch.drop(image)
    return used


def _match_known_images(
    workspace: Workspace,
    items: Sequence[CheckedImage],
    by_bytes: Sequence[str | None],
    report: LabelReport,
    on_progress: Progress | None,
) -> list[Entry]:
    """Return the distinct images, with the known images that have the same bytes or pixels.

    by_bytes: for each item, the known image with the same bytes, or None.
    """
    sizes = {(item.prepared.width, item.prepared.height) for item in items}
    unread = hash_known(workspace, sizes, on_progress)
    report.problems += [
        Problem(f"known image {which}", "not compared with the images of the file") for which in unread
    ]
    hashes = {digest for item in items for digest in item.hashes}
    matches = images_with_pixels(workspace.store, hashes, validation=False)
    entries, pictures = [], []
    for item, known in zip(items, by_bytes, strict=True):
        same = {image for digest in item.hashes for image in matches.get(digest, [])}
        if known is not None:
            same.add(known)
        claimed = item.image_sha256
        if claimed and claimed not in same and image_role(workspace.store, claimed):
            reason = (
                f"says that it is image {claimed[:12]} (image_sha256), but has other pixels. "
                "Export the labels again, or remove image_sha256 from its entry"
            )
            report.refused.append((str(item.path), reason))
            continue
        entries.append(Entry(item, validation_first(workspace.store, same)))
        pictures.append(entries[-1].known[0] if same else item.picture)
    refused = len(report.refused)
    indices = deduplicate(
        [entry.item for entry in entries],
        pictures,
        report.refused,
        report.problems,
        outlines=workspace.config.outlined,
    )
    report.duplicates += len(entries) - len(indices) - (len(report.refused) - refused)
    return [entries[index] for index in indices]


def without_kept(
    workspace: Workspace, entries: Sequence[Entry], coco: Path, report: LabelReport
) -> Iterator[Entry]:
    """Yield the entries whose known labels equal those of the file. Add the others to `report.kept`."""
    for entry in entries:
        labels = labels_of(workspace, entry.known)
        other = next((label for label in labels if not entry.is_same(label)), None)
        if other is None:
            yield entry
            continue
        boxes = len(entry.item.boxes)
        same_count = "other " if boxes == len(other.boxes) else ""
        what = f"{same_count}{boxes} boxes" if boxes else "none"
        if boxes and entry.item.has_labels(other.boxes, other.ignored, outlines=False):
            what = "the same boxes with other outlines"
        report.kept.append((str(entry.item.path), f"{other}; {coco.name} has {what}"))


def write_entry(
    workspace: Workspace, image: str, item: CheckedImage, old: KnownLabel | None, source: str | None = None
) -> None:
    """Write the label of a file for an image. The history keeps the old label.

    source: name of the file, as the origin of a label to train on.
    """
    store, boxes, ignored = workspace.store, item.boxes, item.ignored
    if old is not None and old.status != "skipped" and same_boxes(old.boxes, boxes, outlines=True):
        copy_label(store, image)  # only ignore regions differ, of which the database keeps no copy
    status = "labelled" if len(boxes) else "empty"
    outlines = outlines_to_json(boxes)
    write_label(
        store, NewLabel(image, status, boxes_to_json(boxes), now(), annotator=source, outlines=outlines)
    )
    write_ignore_regions(store, image, boxes_to_json(ignored) if len(ignored) else None)
