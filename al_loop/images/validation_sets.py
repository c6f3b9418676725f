"""Import COCO files as sets for evaluation, without replacing labels of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.images.coco import Problem, listed, missing_classes, read_coco
from al_loop.images.identity import Progress, hash_known, same_pixels
from al_loop.images.ingest import IngestBatch, IngestReport
from al_loop.images.labelled_sets import CheckedImage, checked_images, deduplicate, empty_warning, same_boxes
from al_loop.images.repository import (
    KnownLabel,
    boxes_to_json,
    classes_shown,
    is_judged,
    is_known,
    judged_first,
    labels_of,
    set_counts,
)
from al_loop.state.database import image_table, label_table
from al_loop.state.database.label_history_table import copy_label, replacing
from al_loop.state.workspace import Workspace, now
from al_loop.structures.metrics import VALIDATION

#: Letters of a set's name; it stands in tables of the report.
_LONGEST_NAME = 100


@dataclass
class SetReport(IngestReport):
    """Outcome of an import, and counts of the whole set.

    replaced: labels that gave way to the file's.
    alike: images that were labelled in the pool, and are not trained on any more.
    images, boxes, empty, regions: of the whole set, as it is now.
    warning: most of the file's images have no boxes.
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
    """A labelled image, and the ids of known images with the same pixels, evaluation sets first."""

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
) -> tuple[SetReport, list[str]]:
    """Add a labelled COCO set to the validation set or another set; return the report and the problems.

    An image that is in the pool already leaves it: a model must not be judged on what it learns from. An
    image that has another label than the file gives it stays as it is, where it is; with `replace_labels`
    it takes the file's, and `al_loop.state.label_history` keeps the old one.
    Raises DataError for a name that cannot be shown, and when a class of the workspace has no box in the
    validation set, as its AP could not be known; of another set when no class has one.
    """
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= _LONGEST_NAME:
        raise DataError(
            f"--name {name[:_LONGEST_NAME]!r}: expected 1 to {_LONGEST_NAME} letters, digits and signs, "
            "without spaces at the ends. Name the set like night"
        )
    classes = workspace.config.classes
    coco_set = read_coco(coco, classes)
    report, batch, taken = (
        SetReport(problems=list(coco_set.problems)),
        IngestBatch(workspace, "validation"),
        IngestReport(),
    )
    _refuse_without(missing_classes(coco_set.images, classes), workspace, coco, name, report)
    items, ids = [], []
    for item in checked_images(coco_set, coco, report.refused, on_progress):
        ids.append(batch.put(item.prepared, str(item.path), taken))
        items.append(item.without_data)
    report.warning = empty_warning(len(items), sum(item.empty for item in items))
    report.notes = taken.notes
    fresh = set(taken.added)
    entries = _resolved(
        workspace, items, [None if image in fresh else image for image in ids], report, on_progress
    )
    if not replace_labels:
        entries = [entry for entry in entries if not _kept(workspace, entry, coco, report)]
    used = fresh & {entry.id for entry in entries}
    for image in fresh - used:
        batch.drop(image)
    try:
        _refuse_without(_absent(workspace, name, entries), workspace, coco, name, report)
    except DataError:
        for image in used:
            batch.drop(image)
        raise
    batch.sync()
    command = f"pool add-val {coco.name}{' --replace' if replace_labels else ''}"
    with workspace.store.transaction(), replacing(workspace.store, command):
        batch.insert()
        for entry in entries:
            _take(workspace, entry, name, report)
    counts = set_counts(workspace, name)
    report.images, report.boxes = counts.images, counts.boxes
    report.empty, report.regions = counts.empty, counts.ignored
    return report, report.problems


def _refuse_without(
    missing: Sequence[str], workspace: Workspace, coco: Path, name: str, report: SetReport
) -> None:
    """Raise DataError with all problems where a set lacks required classes."""
    classes = workspace.config.classes
    if not missing or (name != VALIDATION and len(missing) < len(classes)):
        return
    have = [name for name in classes if name not in missing]
    hint = (
        f" {len(report.kept)} of its images have other labels: take the file's with --replace."
        if report.kept
        else ""
    )
    left_out = [*report.problems, *(Problem(where, why) for where, why in (*report.refused, *report.kept))]
    raise DataError(
        f"{listed(left_out, coco)}{coco} has no box of {', '.join(missing)} "
        f"(it has {', '.join(have) or 'none of the classes'}). "
        f"A model cannot be judged on a class without examples: add some and run again.{hint}"
    )


def _absent(workspace: Workspace, name: str, entries: Sequence[_Entry]) -> list[str]:
    """Return the classes that a set would still lack with these entries."""
    shown = {int(label) for entry in entries for label in entry.item.boxes.labels}
    shown |= classes_shown(workspace, name)
    return [label for number, label in enumerate(workspace.config.classes) if number not in shown]


def _resolved(
    workspace: Workspace,
    items: Sequence[CheckedImage],
    by_bytes: Sequence[str | None],
    report: SetReport,
    on_progress: Progress | None,
) -> list[_Entry]:
    """Return each image once, with the known images that have the same bytes or pixels.

    by_bytes: the known image whose file each item is.
    """
    sizes = {(item.prepared.width, item.prepared.height) for item in items}
    unread = hash_known(workspace, sizes, on_progress)
    report.problems += [
        Problem(f"known image {which}", "not compared with the pictures of the file") for which in unread
    ]
    matches = same_pixels(workspace, {digest for item in items for digest in item.hashes})
    entries, keys = [], []
    for item, known in zip(items, by_bytes, strict=True):
        shown = {image for digest in item.hashes for image in matches.get(digest, [])}
        if known is not None:
            shown.add(known)
        if item.claimed and item.claimed not in shown and is_known(workspace, item.claimed):
            report.refused.append(
                (
                    str(item.path),
                    f"says that it is image {item.claimed[:12]} (image_sha256), whose pixels are others. "
                    "Export the labels again, or take image_sha256 out of its entry",
                )
            )
            continue
        entries.append(_Entry(item, judged_first(workspace, shown)))
        keys.append(entries[-1].known[0] if shown else item.picture)
    refused = len(report.refused)
    indices = deduplicate([entry.item for entry in entries], keys, report.refused, report.problems)
    report.duplicates += len(entries) - len(indices) - (len(report.refused) - refused)
    return [entries[place] for place in indices]


def _kept(workspace: Workspace, entry: _Entry, coco: Path, report: SetReport) -> bool:
    """Whether a known image has other labels than the file; it is added to the report."""
    for label in labels_of(workspace, entry.known):
        if _same(label, entry):
            continue
        theirs = len(entry.item.boxes)
        same = "other " if theirs == len(label.boxes) else ""
        what = f"{same}{theirs} boxes" if theirs else "none"
        report.kept.append((str(entry.item.path), f"{label}; {coco.name} has {what}"))
        return True
    return False


def _same(label: KnownLabel, entry: _Entry) -> bool:
    return label.status != "skipped" and entry.item.has_same_labels(label)


def _take(workspace: Workspace, entry: _Entry, name: str, report: SetReport) -> None:
    """Add an image to a set; its label first, so that the history has the old role."""
    store, boxes = workspace.store, entry.item.boxes
    labels = {label.image_id: label for label in labels_of(workspace, entry.known)}
    leaving = [image for image in entry.known if not is_judged(workspace, image)]
    label = labels.get(entry.id)
    for image in set(leaving) & set(labels):
        if image != entry.id or (label is not None and _same(label, entry)):
            report.alike += _same(labels[image], entry)
            copy_label(workspace.store, image)
    if label is None or not _same(label, entry):
        if label is not None and label.status != "skipped" and same_boxes(label.boxes, boxes):
            copy_label(
                workspace.store, entry.id
            )  # other regions to ignore alone: the database sees the same label
        status, ignored = "labelled" if len(boxes) else "empty", entry.item.ignored
        label_table.write_label(store, label_table.NewLabel(entry.id, status, boxes_to_json(boxes), now()))
        regions = boxes_to_json(ignored) if len(ignored) else None
        label_table.write_ignore_regions(store, entry.id, regions)
        report.replaced += label is not None
    image_table.set_image_role(store, leaving, "validation")
    label_table.add_to_set(store, name, entry.id)
    if not entry.known:
        report.added.append(entry.id)
    elif leaving:
        report.moved += 1
    else:
        report.duplicates += 1
