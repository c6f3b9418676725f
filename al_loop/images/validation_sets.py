"""Import COCO files as evaluation sets. Labels of people are replaced only on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.images.coco import Problem, listed, missing_classes, read_coco
from al_loop.images.identity import hash_known
from al_loop.images.ingest import IngestBatch, IngestReport
from al_loop.images.labelled_sets import CheckedImage, checked_images, deduplicate, empty_warning, same_boxes
from al_loop.images.repository import KnownLabel, boxes_to_json, labels_of
from al_loop.state.database.image_table import image_role, set_image_role, validation_first
from al_loop.state.database.label_history_table import copy_label, replacing
from al_loop.state.database.label_table import (
    NewLabel,
    add_to_set,
    classes_in_set,
    set_counts,
    write_ignore_regions,
    write_label,
)
from al_loop.state.database.pixel_table import images_with_pixels
from al_loop.state.workspace import Workspace, now
from al_loop.structures.metrics import VALIDATION

_MAX_NAME_LENGTH = 100  # characters; the report shows the name in tables


@dataclass
class SetReport(IngestReport):
    """Outcome of an import, and counts of the complete set.

    replaced: number of labels that labels of the file have replaced.
    alike: number of images with the same label that have left the pool and the training data.
    images, boxes, empty, regions: counts of the complete set after the import.
    warning: warning for a file in which most images have no boxes, else "".
    problems: parts of the file that were left out, joined or converted.
    """

    replaced: int = 0
    alike: int = 0
    images: int = 0
    boxes: int = 0
    empty: int = 0
    regions: int = 0
    warning: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Entry:
    """A labelled image, and the ids of known images with the same pixels, evaluation images first."""

    item: CheckedImage
    known: list[str]

    @property
    def id(self) -> str:
        """Id of the image that gets the label."""
        return self.known[0] if self.known else self.item.prepared.id


def add_validation(
    workspace: Workspace,
    coco: Path,
    on_progress: Progress | None = None,
    name: str = VALIDATION,
    *,
    replace_labels: bool = False,
) -> SetReport:
    """Add a labelled COCO set to the validation set or another set.

    Images of the pool are removed from it, because no model may be evaluated on its training data. An image
    that has another label than in the file stays unchanged in its place. With `replace_labels`, it gets the
    label of the file, and `al_loop.state.database.label_history_table` keeps the old label.
    Raises DataError for an unprintable name, for a validation set that lacks a class, whose AP would then be
    unknown, and for another set without any class.
    """
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= _MAX_NAME_LENGTH:
        raise DataError(
            f"--name {name[:_MAX_NAME_LENGTH]!r}: expected 1 to {_MAX_NAME_LENGTH} printable characters, "
            "without spaces at the ends, such as night"
        )
    classes = workspace.config.classes
    coco_set = read_coco(coco, classes)
    report = SetReport(problems=list(coco_set.problems))
    _refuse_without(missing_classes(coco_set.images, classes), workspace, coco, name, report)
    batch, stored = IngestBatch(workspace, "validation"), IngestReport()
    items, ids = [], []
    for item in checked_images(coco_set, coco, report.refused, on_progress):
        ids.append(batch.put(item.prepared, str(item.path), stored))
        items.append(item.without_data)
    report.warning = empty_warning(len(items), sum(item.empty for item in items))
    report.notes = stored.notes
    fresh = set(stored.added)
    known = [None if image in fresh else image for image in ids]
    entries = _match_known_images(workspace, items, known, report, on_progress)
    if not replace_labels:
        entries = list(_without_kept(workspace, entries, coco, report))
    used = fresh & {entry.id for entry in entries}
    for image in fresh - used:
        batch.drop(image)
    shown = {int(label) for entry in entries for label in entry.item.boxes.labels}
    shown |= classes_in_set(workspace.store, name)
    missing = [label for number, label in enumerate(classes) if number not in shown]
    try:
        _refuse_without(missing, workspace, coco, name, report)
    except DataError:
        for image in used:
            batch.drop(image)
        raise
    batch.sync()
    command = f"pool add-val {coco.name}{' --replace' if replace_labels else ''}"
    with workspace.store.transaction(), replacing(workspace.store, command):
        batch.insert()
        for entry in entries:
            _add(workspace, entry, name, report)
    counts = set_counts(workspace.store, name)
    report.images, report.boxes = counts.images, counts.boxes
    report.empty, report.regions = counts.empty, counts.ignored
    return report


def _refuse_without(
    missing: Sequence[str], workspace: Workspace, coco: Path, name: str, report: SetReport
) -> None:
    """Raise DataError with all problems where a set lacks required classes."""
    classes = workspace.config.classes
    if not missing or (name != VALIDATION and len(missing) < len(classes)):
        return
    have = ", ".join(name for name in classes if name not in missing) or "none of the classes"
    hint = ""
    if report.kept:
        hint = f" {len(report.kept)} of its images have other labels: take the file's with --replace."
    left_out = [*report.problems, *(Problem(*entry) for entry in (*report.refused, *report.kept))]
    raise DataError(
        f"{listed(left_out, coco)}{coco} has no box of {', '.join(missing)} (it has {have}). "
        f"A model cannot be evaluated on a class without examples: add some and run again.{hint}"
    )


def _match_known_images(
    workspace: Workspace,
    items: Sequence[CheckedImage],
    by_bytes: Sequence[str | None],
    report: SetReport,
    on_progress: Progress | None,
) -> list[_Entry]:
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
        entries.append(_Entry(item, validation_first(workspace.store, same)))
        pictures.append(entries[-1].known[0] if same else item.picture)
    refused = len(report.refused)
    indices = deduplicate([entry.item for entry in entries], pictures, report.refused, report.problems)
    report.duplicates += len(entries) - len(indices) - (len(report.refused) - refused)
    return [entries[index] for index in indices]


def _without_kept(
    workspace: Workspace, entries: Sequence[_Entry], coco: Path, report: SetReport
) -> Iterator[_Entry]:
    """Yield the entries whose known labels equal those of the file. Add the others to `report.kept`."""
    for entry in entries:
        labels = labels_of(workspace, entry.known)
        other = next((label for label in labels if not _is_same(label, entry)), None)
        if other is None:
            yield entry
            continue
        boxes = len(entry.item.boxes)
        same_count = "other " if boxes == len(other.boxes) else ""
        what = f"{same_count}{boxes} boxes" if boxes else "none"
        report.kept.append((str(entry.item.path), f"{other}; {coco.name} has {what}"))


def _is_same(label: KnownLabel, entry: _Entry) -> bool:
    return label.status != "skipped" and entry.item.has_labels(label.boxes, label.ignored)


def _add(workspace: Workspace, entry: _Entry, name: str, report: SetReport) -> None:
    """Add an image to a set. Write its label first, so that the history has the old role."""
    store, boxes, ignored = workspace.store, entry.item.boxes, entry.item.ignored
    labels = {label.image_id: label for label in labels_of(workspace, entry.known)}
    leaving = [image for image in entry.known if image_role(store, image) != "validation"]
    label = labels.get(entry.id)
    same = label is not None and _is_same(label, entry)
    for image in set(leaving) & set(labels):
        if image != entry.id or same:
            report.alike += _is_same(labels[image], entry)
            copy_label(store, image)
    if not same:
        if label is not None and label.status != "skipped" and same_boxes(label.boxes, boxes):
            copy_label(store, entry.id)  # only ignore regions differ, of which the database keeps no copy
        status = "labelled" if len(boxes) else "empty"
        write_label(store, NewLabel(entry.id, status, boxes_to_json(boxes), now()))
        write_ignore_regions(store, entry.id, boxes_to_json(ignored) if len(ignored) else None)
        report.replaced += label is not None
    set_image_role(store, leaving, "validation")
    add_to_set(store, name, entry.id)
    if not entry.known:
        report.added.append(entry.id)
    elif leaving:
        report.moved += 1
    else:
        report.duplicates += 1
