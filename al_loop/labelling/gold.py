"""Gold tasks: images of known labels among the tasks of a cycle, to measure how well people label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from al_loop.images.object_cache import changed_files
from al_loop.images.repository import images_by_id, source_names, validation
from al_loop.labelling.client.task import Agreement, OutgoingTask, PulledTask
from al_loop.labelling.open_tasks import NO_BOXES, batch_name, task_key
from al_loop.labelling.tasks.agreement import agreement
from al_loop.state.database.pick_table import ExpectedPick
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from al_loop.structures.picks import AUDIT_REASON

#: Stands for the known labels in a comparison: no person has this name.
_KNOWN = ""


def draw_gold(workspace: Workspace, count: int, rng: Generator) -> list[str]:
    """Return at most `count` images of the validation set, drawn at random, sorted.

    Without those of which a region is ignored: what people draw there cannot be compared.
    """
    ids = sorted(item.image.id for item in validation(workspace) if not len(item.ignored))
    drawn = rng.choice(ids, min(count, len(ids)), replace=False).tolist() if ids else []
    damaged = changed_files(images_by_id(workspace, drawn))
    return sorted(name for name in drawn if name not in damaged)


def with_gold(
    workspace: Workspace, batch: str, tasks: Sequence[OutgoingTask], gold: Sequence[str]
) -> list[OutgoingTask]:
    """Return tasks in the order of the queue, with gold tasks at equal distances, ranked from 0.

    gold: images. They show no boxes, as blind tasks, and the uncertainty of the task before them.
    """
    ordered = sorted(tasks, key=lambda task: task.rank)
    if not ordered or not gold:
        return ordered
    made = _tasks(workspace, batch, gold)
    places = np.linspace(0, len(ordered), len(made) + 2)[1:-1].round().astype(int).tolist()
    for task, place in reversed([*zip(made, places, strict=True)]):
        ordered.insert(place, replace(task, uncertainty=ordered[max(0, place - 1)].uncertainty))
    return [replace(task, rank=rank) for rank, task in enumerate(ordered)]


def expected_gold(workspace: Workspace, batch: str, cycle: int, gold: Sequence[str]) -> list[ExpectedPick]:
    """Return the gold tasks of a batch as a pull expects them. Their answers are not stored as labels."""
    files = images_by_id(workspace, gold)
    return [
        ExpectedPick(task_key(batch, file.id), file.id, cycle, file.width, file.height, None, None, None)
        for file in files
    ]


def compare_gold(workspace: Workspace, tasks: Sequence[PulledTask]) -> Agreement:
    """Return how far the answers to gold tasks agree with the known labels, by person and class."""
    known = {item.image.id: item.boxes for item in validation(workspace)} if tasks else {}
    total = Agreement()
    for task in tasks:
        for person, boxes in task.people.items() if task.image_id in known else ():
            pair = {person: boxes, _KNOWN: known[task.image_id]}
            found = agreement(pair, workspace.config.classes)
            total += replace(found, people={person: found.people[person]})
    return total


def gold_of_cycle(workspace: Workspace, cycle: int) -> list[OutgoingTask]:
    """Return the gold tasks of a cycle that was pushed, without their places in the queue."""
    gold = output_of_cycle(workspace, cycle, "push").get("gold", ())
    return _tasks(workspace, batch_name(workspace, cycle), gold)


def _tasks(workspace: Workspace, batch: str, gold: Sequence[str]) -> list[OutgoingTask]:
    files, sources = images_by_id(workspace, gold), source_names(workspace, gold)
    return [
        OutgoingTask(
            task_key(batch, file.id), file.id, file.path, sources[file.id], file.width, file.height,
            NO_BOXES, 0.0, 0, AUDIT_REASON, blind=True,
        )
        for file in files
    ]  # fmt: skip
