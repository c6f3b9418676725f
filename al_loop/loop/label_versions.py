"""Earlier versions of the labels: of a cycle or of an export. Compare them, and restore those of a cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.core.files import json_hash, read_json
from al_loop.core.frozen_settings import thawed
from al_loop.evaluation.label_changes import BoxChanges, box_changes
from al_loop.images import repository
from al_loop.images.coco import listed, read_coco
from al_loop.images.labelled_sets import same_boxes
from al_loop.loop.manifest import LABELS
from al_loop.state.database.cycle_table import read_cycle
from al_loop.state.database.label_history_table import OldLabel, old_labels_of, restore_labels
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes

#: The name of the current labels, as in `al-loop labels diff 3 now`.
NOW = "now"


@dataclass(frozen=True)
class Version:
    """Labels at one time.

    labels: boxes and ignore regions, by image.
    outlined: whether it says which boxes have an outline.
    """

    labels: Mapping[str, tuple[Boxes, Boxes]]
    outlined: bool

    def is_same(self, image: str, other: Version) -> bool:
        """Whether both versions have the same label of an image."""
        (boxes, ignored), (others, others_ignored) = self.labels[image], other.labels[image]
        outlines = self.outlined and other.outlined
        return same_boxes(boxes, others, outlines=outlines) and same_boxes(ignored, others_ignored)


@dataclass(frozen=True)
class LabelDifference:
    """How two versions of the labels differ.

    changes: of the images that both have, by id. Empty if only outlines or ignore regions differ.
    only_before, only_after: images that only one version has.
    both: number of images that both have.
    """

    changes: Mapping[str, BoxChanges] = field(default_factory=dict)
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    both: int = 0


def compare_labels(workspace: Workspace, before: str, after: str) -> LabelDifference:
    """Compare two versions of the labels of the pool.

    before, after: number of a cycle, for the labels that it trained on; `NOW`; or a file of
        `al-loop pool export`.
    Raises DataError if there is no such version.
    """
    first, second = read_version(workspace, before), read_version(workspace, after)
    both = sorted(first.labels.keys() & second.labels.keys())
    return LabelDifference(
        {
            name: box_changes(first.labels[name][0], second.labels[name][0])
            for name in both
            if not first.is_same(name, second)
        },
        tuple(sorted(first.labels.keys() - second.labels.keys())),
        tuple(sorted(second.labels.keys() - first.labels.keys())),
        len(both),
    )


def read_version(workspace: Workspace, name: str) -> Version:
    """Return a version of the labels. name: as in `compare_labels`."""
    if name == NOW:
        images = repository.labelled(workspace, outlines=True)
        return Version({item.image.id: (item.boxes, item.ignored) for item in images}, outlined=True)
    if name.isdecimal():
        return _of_cycle(workspace, int(name))
    file = Path(name)
    if not file.is_file():
        raise DataError(
            f"{name!r} is no version of the labels: expected the number of a cycle, {NOW!r}, or a file of "
            "al-loop pool export"
        )
    return _of_export(workspace, file)


def _of_export(workspace: Workspace, file: Path) -> Version:
    """Return the labels of a file of `pool export`. Raises DataError if any cannot be read as it is."""
    coco = read_coco(file, workspace.config.classes, outlines=True)
    if coco.problems:
        raise DataError(
            f"{listed(coco.problems, file)}{file} cannot be compared: expected a file of al-loop pool export "
            "where it was written, since it names the images by their place"
        )
    unknown = sum(item.image_sha256 is None for item in coco.images)
    if unknown:
        raise DataError(
            f"{file}: {unknown} of {len(coco.images)} images have no image_sha256: expected a file of "
            "al-loop pool export. Compare files of other tools by adding them: al-loop pool add-labelled"
        )
    return Version(
        {item.image_sha256 or "": (item.boxes, item.ignored) for item in coco.images}, outlined=True
    )


def _of_cycle(workspace: Workspace, number: int) -> Version:
    """Return the labels that a cycle trained on."""
    path, row = workspace.cycle_dir(number) / "pull" / LABELS, read_cycle(workspace.store, number)
    expected = output_of_cycle(workspace, number, "pull").get("labels_hash")
    if row is None or expected is None:
        raise DataError(f"cycle {number} has no labels: it has not pulled any. See: al-loop status")
    try:
        data = read_json(path)
    except (OSError, ValueError, RecursionError):
        data = None
    if data is None or json_hash(data) != expected:
        raise DataError(f"{path} is gone or was changed. Restore it from a backup, or see: al-loop doctor")
    partly = set(output_of_cycle(workspace, number, "pull").get("verified", ()))
    images = repository.from_snapshot(workspace, [item for item in data if item[0] not in partly])
    labels = {item.image.id: (item.boxes, item.ignored) for item in images}
    return Version(labels, outlined=thawed(row.settings).outlined)


def restore_version(workspace: Workspace, number: int) -> tuple[list[str], list[str]]:
    """Restore the labels that a cycle trained on, where they differ now.

    Returns the images with restored labels, and those whose labels the history does not have.
    Images that were labelled later keep their labels. `labels restore --last` undoes it.
    """
    wanted, current = _of_cycle(workspace, number), read_version(workspace, NOW)
    changed = [
        name for name in wanted.labels if name not in current.labels or not wanted.is_same(name, current)
    ]
    found = {name: _in_history(workspace, name, wanted) for name in changed}
    rows = [row for row in found.values() if row is not None]
    restore_labels(workspace.store, rows, f"labels restore --cycle {number}")
    return [row.image_id for row in rows], [name for name, row in found.items() if row is None]


def _in_history(workspace: Workspace, image: str, wanted: Version) -> OldLabel | None:
    """Return the newest old label of an image that equals that of a version."""
    for row in old_labels_of(workspace.store, image):
        boxes = repository.boxes_from_json(row.boxes, row.outlines)
        label = boxes, repository.boxes_from_json(row.ignored or "[]")
        if row.status in ("labelled", "empty") and wanted.is_same(
            image, Version({image: label}, outlined=True)
        ):
            return row
    return None
