"""Read labels from the server: the state of each task, and the boxes that people submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from al_loop.core.config import Drawn
from al_loop.labelling.client.client import Api, Connection, condition
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import BLIND, PulledTask, TaskState
from al_loop.labelling.tasks import agreement
from al_loop.labelling.tasks.agreement import Annotation, Policy
from al_loop.labelling.tasks.convert import from_result
from al_loop.labelling.tasks.edits import count_edits
from al_loop.labelling.tasks.outlines import crossing_note
from al_loop.labelling.tasks.push import batch_filter, group_by_key
from al_loop.labelling.tasks.regions import ImageSize, RefusedResultError, parse_value
from al_loop.state.database.pick_table import ExpectedPick

_NEWEST = Policy()
_OVERLAP = timedelta(minutes=1)
_KEYS_PER_REQUEST = 30  # keys are part of the address, which proxies limit to about 4,000 characters


@dataclass(frozen=True)
class LabelRules:
    """How answers are read.

    policy: which of several annotations counts.  drawn: with which tools people draw.
    overlap: number of people who label each image.
    """

    classes: Sequence[str]
    policy: Policy = _NEWEST
    drawn: Drawn = "rectangles"
    overlap: int = 1


def pull(
    connection: Connection, project_id: int, batch: str, expected: Sequence[ExpectedPick], rules: LabelRules
) -> list[PulledTask]:
    """Return the current state of every expected task, in the given order.

    A task whose result cannot be used is REFUSED; its `problem` gives the reason.
    Raises LabelStudioError if the server does not answer or the project is missing.
    """
    with connection.open() as api:
        api.project(project_id)  # a deleted project must not look like a batch of deleted tasks
        tasks = group_by_key(api.tasks(project_id, batch_filter(batch), whole=True))
        tasks |= tasks_with_keys(
            api, project_id, [want.task_key for want in expected if want.task_key not in tasks], whole=True
        )
        users = api.users() if tasks else {}
    reader = _Reader(rules, users, f"{connection.base_url}/projects/{project_id}/data?task=")
    return [reader.read(want, tasks.get(want.task_key, [])) for want in expected]


def tasks_with_keys(api: Api, project_id: int, keys: Sequence[str], *, whole: bool) -> dict[str, list[Json]]:
    """Return tasks of any batch by their keys: a task that is missing from a list need not be deleted.

    whole: with annotations and predictions; otherwise id and data only.
    """
    groups: dict[str, list[Json]] = {}
    for start in range(0, len(keys), _KEYS_PER_REQUEST):
        some = list(keys[start : start + _KEYS_PER_REQUEST])
        tasks = api.tasks(project_id, condition("data.al_key", "in_list", "List", some), whole=whole)
        groups |= {key: group for key, group in group_by_key(tasks).items() if key in some}
    return groups


@dataclass(frozen=True)
class ChangedTasks:
    """Tasks that changed since a time. newest: time of the last change by the server's clock, or None."""

    tasks: list[PulledTask]
    newest: str | None


def changed_since(
    connection: Connection,
    project_id: int,
    since: str | None,
    expected: Mapping[str, ExpectedPick],
    rules: LabelRules,
) -> ChangedTasks:
    """Return the expected tasks that changed since `since`, a time written by the server; None for all.

    One more minute is read, since simultaneous changes may become visible in another order. Duplicate tasks
    are refused.

    expected: tasks by key.
    """
    if not expected:
        return ChangedTasks([], since)
    moment = _parse_time(since)
    conditions = []
    if moment is not None:
        value = (moment - _OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        conditions.append(condition("updated_at", "greater_or_equal", "Datetime", value))
    with connection.open() as api:
        tasks = api.tasks(project_id, *conditions, whole=True)
        users = api.users() if tasks else {}
    reader = _Reader(rules, users, f"{connection.base_url}/projects/{project_id}/data?task=")
    pulled = [
        reader.read(expected[key], group) for key, group in group_by_key(tasks).items() if key in expected
    ]
    times = [task["updated_at"] for task in tasks if _parse_time(task.get("updated_at")) is not None]
    return ChangedTasks(pulled, max(times, default=since))


def _parse_time(text: object) -> datetime | None:
    """Parse a time written by the server; return None if it is invalid."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return moment if moment is not None and moment.year > 1 else None
    except ValueError:
        return None


class _Task(msgspec.Struct, frozen=True):
    """A task with its annotations."""

    updated_at: str
    annotations: list[Annotation]
    draft_exists: Any = None
    predictions: Any = None
    data: dict[str, Any] = {}


class _Prediction(msgspec.Struct, frozen=True):
    """Regions proposed by a model."""

    id: int
    result: list[Any]


@dataclass(frozen=True)
class _Reader:
    """Reads tasks. users: e-mail addresses by id.  page: address of a task's page without the task id."""

    rules: LabelRules
    users: Mapping[int, str]
    page: str

    def read(self, want: ExpectedPick, tasks: list[Json]) -> PulledTask:
        """Return the state of the task with a key; `tasks` are all that have this key."""
        known: dict[str, Any] = {"key": want.task_key, "image_id": want.image_id}
        if not tasks:
            return PulledTask(**known, task_id=None, state=TaskState.DELETED)
        ids = [task["id"] for task in tasks]
        known |= {"task_id": max(ids), "url": f"{self.page}{max(ids)}"}
        try:
            if len(tasks) > 1:
                raise RefusedResultError(
                    f"the server has {len(ids)} tasks for this image ({', '.join(map(str, ids))}): "
                    "delete all but one"
                )
            return self._read_answer(want, parse_value(tasks[0], _Task, "the task"), known)
        except RefusedResultError as error:
            return PulledTask(**known | {"awaited": 0}, state=TaskState.REFUSED, problem=str(error))

    def _read_answer(self, want: ExpectedPick, task: _Task, known: dict[str, Any]) -> PulledTask:
        """Return the answer to a task; add to `known` the fields that are valid even if it is refused."""
        if _parse_time(task.updated_at) is None:
            raise RefusedResultError(f"the task was changed at {task.updated_at[:50]!r}, expected a time")
        known["updated_at"] = task.updated_at
        annotation = agreement.choose(task.annotations, self.rules.policy, self.users)
        if annotation is None:
            return PulledTask(**known, state=TaskState.DRAFT if task.draft_exists else TaskState.PENDING)
        known |= {
            "annotation_id": annotation.id,
            "updated_at": annotation.updated_at,
            "annotator": annotation.author(self.users),
            "lead_time_s": _duration_s(annotation.lead_time),
            "awaited": self._awaited(task),
        }
        if annotation.was_cancelled:
            return PulledTask(**known, state=TaskState.SKIPPED)
        people = agreement.latest_per_person(task.annotations, self.users)
        size, rules, several = ImageSize(want.width, want.height), self.rules, len(people) > 1
        boxes, *boxes_of_people = (
            from_result(item.result, size, rules.classes, rules.drawn)
            for item in (annotation, *(people if several else ()))
        )
        if several and rules.policy.rule == "consensus":
            boxes = agreement.consensus(boxes_of_people)
        names = [item.author(self.users) or "unknown" for item in people]
        by_person = dict(zip(names, boxes_of_people if several else [boxes], strict=True))
        agreed = agreement.agreement(by_person, rules.classes) if several else None
        blind = bool(task.data.get(BLIND))
        edits = None if blind else count_edits(_proposed_regions(task, annotation), annotation.result, size)
        state = TaskState.LABELLED if len(boxes) else TaskState.EMPTY
        known["note"] = crossing_note(annotation.result) if boxes.outlines else None
        return PulledTask(**known, state=state, boxes=boxes, edits=edits, agreement=agreed, people=by_person)

    def _awaited(self, task: _Task) -> int:
        """Return the number of people who still have to answer a task. A skip is an answer."""
        return max(0, self.rules.overlap - len({item.author(self.users) for item in task.annotations}))


def _duration_s(value: Any) -> float | None:
    """Return a plausible duration in seconds; None for any other value, so that the boxes are still used."""
    plausible = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if plausible else None


def _proposed_regions(task: _Task, annotation: Annotation) -> list[Any]:
    """Return the regions that the annotation started from; by default those of the newest prediction."""
    predictions = []
    for item in task.predictions if isinstance(task.predictions, list) else []:
        try:
            predictions.append(parse_value(item, _Prediction, "a prediction"))
        except RefusedResultError:
            continue
    parents = [item for item in predictions if item.id == annotation.parent_prediction]
    newest = max(parents or predictions, key=lambda item: item.id, default=None)
    return newest.result if newest else []
