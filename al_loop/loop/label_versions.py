"""Earlier versions of the labels: of a cycle or of an export. Compare them, and restore those of a cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.core.files import json_hash, read_json
from al_loop.evaluation.label_changes import BoxChanges, box_changes
from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.images.labelled_sets import same_boxes
from al_loop.loop.manifest import LABELS
from al_loop.state.database.label_history_table import note_unlabelled, replacing
from al_loop.state.database.label_table import NewLabel, find_labels, write_label
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes

#: The name of the current labels, as in `al-loop labels diff 3 now`.
NOW = "now"


@dataclass(frozen=True)
class LabelDifference:
    """How two versions of the labels differ.

    changes: of the images that both have, by id. Images whose outlines alone differ have empty changes.
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
    both = sorted(first.keys() & second.keys())
    return LabelDifference(
        {
            name: box_changes(first[name], second[name])
            for name in both
            if not same_boxes(first[name], second[name], outlines=_outlined(first[name], second[name]))
        },
        tuple(sorted(first.keys() - second.keys())),
        tuple(sorted(second.keys() - first.keys())),
        len(both),
    )


def _outlined(first: Boxes, second: Boxes) -> bool:
    """Whether both versions have outlines: a version without any does not say that they were removed."""
    return first.outlines is not None and second.outlines is not None


def read_version(workspace: Workspace, name: str) -> dict[str, Boxes]:
    """Return the labelled boxes of a version of the labels, by image. name: as in `compare_labels`."""
    if name == NOW:
        return {item.image.id: item.boxes for item in repository.labelled(workspace, outlines=True)}
    if name.isdecimal():
        return _of_cycle(workspace, int(name))
    file = Path(name)
    if not file.is_file():
        raise DataError(
            f"{name!r} is no version of the labels: expected the number of a cycle, {NOW!r}, or a file of "
            "al-loop pool export"
        )
    images = read_coco(file, workspace.config.classes, outlines=True).images
    unknown = sum(item.image_sha256 is None for item in images)
    if unknown:
        raise DataError(
            f"{file}: {unknown} of {len(images)} images have no image_sha256: expected a file of al-loop "
            "pool export. Compare files of other tools by adding them: al-loop pool add-labelled"
        )
    return {item.image_sha256: item.boxes for item in images if item.image_sha256 is not None}


def _of_cycle(workspace: Workspace, number: int) -> dict[str, Boxes]:
    """Return the labels that a cycle trained on."""
    path = workspace.cycle_dir(number) / "pull" / LABELS
    expected = output_of_cycle(workspace, number, "pull").get("labels_hash")
    if expected is None:
        raise DataError(f"cycle {number} has no labels: it has not pulled any. See: al-loop status")
    try:
        data = read_json(path)
    except (OSError, ValueError, RecursionError):
        data = None
    if data is None or json_hash(data) != expected:
        raise DataError(f"{path} is gone or was changed. Restore it from a backup, or see: al-loop doctor")
    return {item.image.id: item.boxes for item in repository.from_snapshot(workspace, data)}


def restore_version(workspace: Workspace, number: int) -> list[str]:
    """Restore the labels that a cycle trained on, where they differ now. Return these images.

    Images that were labelled later keep their labels. `labels restore --last` undoes it.
    """
    wanted, store = _of_cycle(workspace, number), workspace.store
    current = {row.image_id: row for row in find_labels(store, list(wanted))}
    drawn = read_version(workspace, NOW)
    changed = [
        name
        for name, boxes in wanted.items()
        if name not in drawn or not same_boxes(boxes, drawn[name], outlines=_outlined(boxes, drawn[name]))
    ]
    with store.transaction(), replacing(store, f"labels restore --cycle {number}"):
        note_unlabelled(store, [name for name in changed if name not in current])
        for name in changed:
            boxes, old = wanted[name], current.get(name)
            label = NewLabel(
                name,
                "labelled" if len(boxes) else "empty",
                repository.boxes_to_json(boxes),
                now(),
                None if old is None else old.cycle,
                None if old is None else old.annotator,
                outlines=repository.outlines_to_json(boxes),
            )
            write_label(store, label)
    return changed
