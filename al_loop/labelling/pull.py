"""Bring labels back: one state per task, and boxes where people submitted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from al_loop.labelling.connection import Connection, Json
from al_loop.labelling.convert import ImageSize, RefusedResultError, count_edits, from_result
from al_loop.labelling.push import batch_filter
from al_loop.labelling.tasks import ExpectedTask, PulledTask, TaskState


def pull(
    connection: Connection,
    project_id: int,
    batch: str,
    expected: Sequence[ExpectedTask],
    *,
    classes: Sequence[str],
) -> list[PulledTask]:
    """Return every expected task as the server has it now, in the order given.

    A task whose result cannot be used is REFUSED with its problem, and the others go on.
    Raises LabelStudioError when the server or the project is not there.
    """
    with connection.open() as api:
        api.project(project_id)  # a deleted project must not look like a batch of deleted tasks
        found: dict[str, list[Json]] = {}
        for task in api.tasks(project_id, batch_filter(batch), whole=True):
            found.setdefault(str(task["data"].get("al_key")), []).append(task)
        users = api.users() if found else {}
    base = f"{connection.base_url}/projects/{project_id}/data?task="
    return [_read(want, found.get(want.key, []), classes, users, base) for want in expected]


def _read(
    want: ExpectedTask, there: list[Json], classes: Sequence[str], users: Mapping[int, str], base: str
) -> PulledTask:
    known: dict[str, Any] = {"key": want.key, "image_id": want.image_id}
    if not there:
        return PulledTask(**known, task_id=None, state=TaskState.DELETED)
    task = max(there, key=lambda one: int(one["id"]))
    known |= {"task_id": int(task["id"]), "url": f"{base}{task['id']}", "updated_at": str(task["updated_at"])}
    if len(there) > 1:
        ids = ", ".join(str(one["id"]) for one in there)
        problem = f"the server has {len(there)} tasks for this image ({ids}): delete all but one"
        return PulledTask(**known, state=TaskState.REFUSED, problem=problem)
    annotation = newest(task.get("annotations") or [])
    if annotation is None:
        return PulledTask(**known, state=TaskState.DRAFT if task.get("draft_exists") else TaskState.PENDING)
    known |= _about(annotation, users)
    if annotation.get("was_cancelled"):
        return PulledTask(**known, state=TaskState.SKIPPED)
    result = annotation.get("result") or []
    try:
        boxes = from_result(result, ImageSize(want.width, want.height), classes)
    except RefusedResultError as refused:
        return PulledTask(**known, state=TaskState.REFUSED, problem=str(refused))
    edits = count_edits(_proposed(task, annotation), result)
    state = TaskState.LABELLED if len(boxes) else TaskState.EMPTY
    return PulledTask(**known, state=state, boxes=boxes, edits=edits)


def newest(annotations: Sequence[Json]) -> Json | None:
    """Return the annotation that counts: the newest submitted one, else the newest skip, else None."""
    submitted = [one for one in annotations if not one.get("was_cancelled")]
    candidates = submitted or list(annotations)
    return max(candidates, key=lambda one: (str(one["updated_at"]), int(one["id"])), default=None)


def _about(annotation: Json, users: Mapping[int, str]) -> dict[str, Any]:
    lead_time = annotation.get("lead_time")
    by = annotation.get("completed_by")
    by = by.get("id") if isinstance(by, dict) else by
    return {
        "annotation_id": int(annotation["id"]),
        "updated_at": str(annotation["updated_at"]),
        "annotator": None if by is None else users.get(int(by), f"user {by}"),
        "lead_time_s": None if lead_time is None else float(lead_time),
    }


def _proposed(task: Json, annotation: Json) -> list[Json]:
    """Return the regions that the annotation began with; without a note of it, the newest prediction's."""
    predictions = sorted(task.get("predictions") or [], key=lambda one: int(one["id"]))
    parents = [one for one in predictions if one["id"] == annotation.get("parent_prediction")]
    chosen = (parents or predictions)[-1:]
    return list(chosen[0].get("result") or []) if chosen else []
