"""Import COCO files as labelled images of the pool. Labels of people are replaced only on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.images.coco import Problem, listed, missing_classes, read_coco
from al_loop.images.ingest import IngestBatch
from al_loop.images.label_import import (
    Entry,
    LabelReport,
    drop_unused,
    read_entries,
    without_kept,
    write_entry,
)
from al_loop.images.repository import labelled, labels_of
from al_loop.state.database.image_table import image_role
from al_loop.state.database.label_history_table import replacing
from al_loop.state.workspace import Workspace
from al_loop.structures.images import total_boxes, total_outlines, total_regions


def add_labelled(
    workspace: Workspace, coco: Path, on_progress: Progress | None = None, *, replace_labels: bool = False
) -> LabelReport:
    """Add the labelled images of a COCO file to the pool. It is safe to repeat this.

    Every later training uses them. Images of evaluation sets are left out. An image that has another label
    than in the file keeps it. With `replace_labels`, it gets the label of the file, and
    `al_loop.state.database.label_history_table` keeps the old label.
    Raises DataError if the file has no usable image.
    """
    classes = workspace.config.classes
    coco_set = read_coco(coco, classes, masks=workspace.config.outlined)
    report, batch = LabelReport(problems=list(coco_set.problems)), IngestBatch(workspace, "pool")
    entries, fresh = read_entries(workspace, batch, coco_set, coco, report, on_progress)
    if not entries:
        problems = [*report.problems, *(Problem(*entry) for entry in report.refused)]
        raise DataError(
            f"{listed(problems, coco)}{coco} has no usable image: expected images with boxes of "
            f"{', '.join(classes)}, or without any box. Correct the file and run again"
        )
    entries = list(_without_evaluated(workspace, entries, report))
    if not replace_labels:
        entries = list(without_kept(workspace, entries, coco, report))
    drop_unused(batch, fresh, entries)
    batch.sync()
    command = f"pool add-labelled {coco.name}{' --replace' if replace_labels else ''}"
    with workspace.store.transaction(), replacing(workspace.store, command):
        batch.insert()
        for entry in entries:
            _add(workspace, entry, coco.name, report)
    images = labelled(workspace)
    report.images, report.boxes, report.regions = len(images), total_boxes(images), total_regions(images)
    report.empty = sum(not len(item.boxes) for item in images)
    report.outlines = total_outlines(images) if workspace.config.outlined else None
    report.missing = missing_classes(images, classes)
    return report


def _without_evaluated(
    workspace: Workspace, entries: Sequence[Entry], report: LabelReport
) -> Iterator[Entry]:
    """Yield the entries that no evaluation set has. Count the others."""
    for entry in entries:
        if entry.known and image_role(workspace.store, entry.id) == "validation":
            report.evaluated += 1
        else:
            yield entry


def _add(workspace: Workspace, entry: Entry, source: str, report: LabelReport) -> None:
    """Label an image, and its copies in the pool if these have labels."""
    labels = {label.image_id: label for label in labels_of(workspace, entry.known)}
    differing = [image for image, label in labels.items() if not entry.is_same(label)]
    for image in differing or ([] if labels else [entry.id]):
        write_entry(workspace, image, entry.item, labels.get(image), source)
    if differing:
        report.replaced += len(differing)
    elif not entry.known:
        report.added.append(entry.id)
    elif labels:
        report.duplicates += 1
    else:
        report.labelled += 1
