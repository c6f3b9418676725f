"""Import COCO files as evaluation sets. Labels of people are replaced only on request."""

from __future__ import annotations

from collections.abc import Sequence
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
from al_loop.images.repository import labels_of, validation
from al_loop.state.database.image_table import image_role, set_image_role
from al_loop.state.database.label_history_table import copy_label, replacing
from al_loop.state.database.label_table import add_to_set, classes_in_set, set_counts
from al_loop.state.workspace import Workspace
from al_loop.structures.images import total_outlines
from al_loop.structures.metrics import VALIDATION

_MAX_NAME_LENGTH = 100  # characters; the report shows the name in tables


def add_validation(
    workspace: Workspace,
    coco: Path,
    on_progress: Progress | None = None,
    name: str = VALIDATION,
    *,
    replace_labels: bool = False,
) -> LabelReport:
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
    coco_set = read_coco(coco, classes, masks=workspace.config.outlined)
    report = LabelReport(problems=list(coco_set.problems))
    known = classes_in_set(workspace.store, name)
    missing = [
        label for label in missing_classes(coco_set.images, classes) if classes.index(label) not in known
    ]
    _refuse_without(missing, workspace, coco, name, report)
    batch = IngestBatch(workspace, "validation")
    entries, fresh = read_entries(workspace, batch, coco_set, coco, report, on_progress)
    if not replace_labels:
        entries = list(without_kept(workspace, entries, coco, report))
    used = drop_unused(batch, fresh, entries)
    shown = {int(label) for entry in entries for label in entry.item.boxes.labels}
    missing = [label for number, label in enumerate(classes) if number not in shown | known]
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
    if workspace.config.outlined:
        report.outlines = total_outlines(validation(workspace, name))
    return report


def _refuse_without(
    missing: Sequence[str], workspace: Workspace, coco: Path, name: str, report: LabelReport
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


def _add(workspace: Workspace, entry: Entry, name: str, report: LabelReport) -> None:
    """Add an image to a set. Write its label first, so that the history has the old role."""
    store = workspace.store
    labels = {label.image_id: label for label in labels_of(workspace, entry.known)}
    leaving = [image for image in entry.known if image_role(store, image) != "validation"]
    label = labels.get(entry.id)
    same = label is not None and entry.is_same(label)
    for image in set(leaving) & set(labels):
        if image != entry.id or same:
            report.alike += entry.is_same(labels[image])
            copy_label(store, image)
    if not same:
        write_entry(workspace, entry.id, entry.item, label)
        report.replaced += label is not None
    set_image_role(store, leaving, "validation")
    add_to_set(store, name, entry.id)
    if not entry.known:
        report.added.append(entry.id)
    elif leaving:
        report.moved += 1
    else:
        report.duplicates += 1
