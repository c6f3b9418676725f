"""Label photographs of the pool as empty, in bulk: healthy parts, which every training learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from al_loop.images.repository import labels_of
from al_loop.state.database.image_table import find_images
from al_loop.state.database.label_history_table import note_unlabelled, replacing
from al_loop.state.database.label_table import NewLabel, write_label
from al_loop.state.workspace import Workspace, now

#: Origin of the labels, and reason in the history.
COMMAND = "pool add --healthy"


@dataclass
class HealthyReport:
    """Outcome of labelling photographs as empty.

    labelled: number of photographs that had no label and are labelled as empty now.
    known: number that were empty before.
    evaluated: number left out, because models are evaluated on them.
    kept: photographs whose label is another one and stays, with that label.
    """

    labelled: int = 0
    known: int = 0
    evaluated: int = 0
    kept: list[tuple[str, str]] = field(default_factory=list)


def label_as_empty(workspace: Workspace, ids: Sequence[str]) -> HealthyReport:
    """Label images as empty, all or none, and leave existing labels and evaluation images unchanged.

    `al_loop.state.database.label_history_table.restore` takes the labels back.
    """
    report, store = HealthyReport(), workspace.store
    rows = {row.id: row for row in find_images(store, ids)}  # without dropped copies of evaluation images
    labels = {label.image_id: label for label in labels_of(workspace, ids)}
    new = list[str]()
    for image in dict.fromkeys(name for name in ids if name in rows):
        label = labels.get(image)
        if rows[image].role == "validation":
            report.evaluated += 1
        elif label is None:
            new.append(image)
        elif label.status == "empty":
            report.known += 1
        else:
            report.kept.append((rows[image].source, str(label)))
    with store.transaction(), replacing(store, COMMAND):
        note_unlabelled(store, new)
        for image in new:
            write_label(store, NewLabel(image, "empty", "[]", now(), annotator=COMMAND))
    report.labelled = len(new)
    return report
