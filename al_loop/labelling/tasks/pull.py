"""Bring labels back: one state per task, and boxes where people submitted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from al_loop.labelling.client.client import Api, Connection, Json
from al_loop.labelling.client.task import ExpectedTask, PulledTask, TaskState
from al_loop.labelling.tasks.agreement import (
    Policy,
    author,
    checked,
    chosen,
    consensus,
    disagreement,
    latest_of_each,
)
from al_loop.labelling.tasks.convert import (
    ImageSize,
    RefusedResultError,
    count_edits,
    from_result,
    is_number,
    shown,
)
from al_loop.labelling.tasks.push import batch_filter
from al_loop.structures.boxes import Boxes

NEWEST = Policy()
_OVERLAP = timedelta(minutes=1)
_KEYS = 30  # asked for at once: they stand in an address, which proxies cut at some 4,000 characters


def pull(
    connection: Connection,
    project_id: int,
    batch: str,
    expected: Sequence[ExpectedTask],
    *,
    classes: Sequence[str],
    policy: Policy = NEWEST,
    outlined: bool = False,
) -> list[PulledTask]:
    """Return every expected task as the server has it now, in the order given.

    policy: whose boxes count where several people have labelled one image.
    outlined: whether people may have drawn polygons and painted; otherwise these are refused.

    A task whose result cannot be used is REFUSED with its problem, and the others go on.
    Raises LabelStudioError when the server or the project is not there.
    """
    with connection.open() as api:
        api.project(project_id)  # a deleted project must not look like a batch of deleted tasks
        found: dict[str, list[Json]] = {}
        for task in api.tasks(project_id, batch_filter(batch), whole=True):
            found.setdefault(str(task["data"].get("al_key")), []).append(task)
        found |= _asked_for(api, project_id, [want.key for want in expected if want.key not in found])
        users = api.users() if found else {}
    base = f"{connection.base_url}/projects/{project_id}/data?task="
    reader = _Reader(classes, policy, users, base, outlined)
    return [reader.read(want, found.get(want.key, [])) for want in expected]


def _asked_for(api: Api, project_id: int, keys: Sequence[str]) -> dict[str, list[Json]]:
    """Return tasks by their keys, wherever in the project they are: one that a list lacks need not be deleted."""
    found: dict[str, list[Json]] = {}
    for start in range(0, len(keys), _KEYS):
        some = list(keys[start : start + _KEYS])
        item = {"filter": "filter:tasks:data.al_key", "operator": "in_list", "type": "List", "value": some}
        for task in api.tasks(project_id, {"conjunction": "and", "items": [item]}, whole=True):
            if task["data"].get("al_key") in some:
                found.setdefault(task["data"]["al_key"], []).append(task)
    return found


@dataclass(frozen=True)
class Changed:
    """Tasks that were changed since a time. newest: the last change, by the server's clock; None where there was none."""

    tasks: list[PulledTask]
    newest: str | None


def changed_since(
    connection: Connection,
    project_id: int,
    since: str | None,
    expected: Mapping[str, ExpectedTask],
    *,
    classes: Sequence[str],
    policy: Policy = NEWEST,
    outlined: bool = False,
) -> Changed:
    """Return the expected tasks, by key, that people have changed since `since`, a time the server wrote; None for all.

    Reads a minute more than asked: changes that were made at the same time may have become visible in another order.
    Of two tasks with one key neither is taken.
    """
    if not expected:
        return Changed([], since)
    filters: Json = {"conjunction": "and", "items": []}
    moment = None if since is None else _moment(since)
    if moment is not None:
        value = (
            (moment - _OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        )  # as its filters want it
        filters["items"].append(
            {
                "filter": "filter:tasks:updated_at",
                "operator": "greater_or_equal",
                "type": "Datetime",
                "value": value,
            }
        )
    with connection.open() as api:
        there = api.tasks(project_id, filters, whole=True)
        users = api.users() if there else {}
    base = f"{connection.base_url}/projects/{project_id}/data?task="
    reader = _Reader(classes, policy, users, base, outlined)
    by_key: dict[str, list[Json]] = {}
    for task in there:
        by_key.setdefault(str(task["data"].get("al_key")), []).append(task)
    tasks = [reader.read(expected[key], some) for key, some in by_key.items() if key in expected]
    times = [task["updated_at"] for task in there if _moment(task.get("updated_at")) is not None]
    return Changed(tasks, max(times, default=since))


def _moment(text: object) -> datetime | None:
    """Return a time that a server wrote; None where it is none that we could ask by."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
        return found if found is not None and found.year > 1 else None
    except ValueError:
        return None


@dataclass(frozen=True)
class _Reader:
    """What it takes to understand a task. users: e-mail addresses by id.  base: address of a task without its id."""

    classes: Sequence[str]
    policy: Policy
    users: Mapping[int, str]
    base: str
    outlined: bool

    def read(self, want: ExpectedTask, there: list[Json]) -> PulledTask:
        """Return what became of one task; `there` are the server's with its key."""
        known: dict[str, Any] = {"key": want.key, "image_id": want.image_id}
        if not there:
            return PulledTask(**known, task_id=None, state=TaskState.DELETED)
        task = max(there, key=lambda one: int(one["id"]))
        known |= {"task_id": task["id"], "url": f"{self.base}{task['id']}"}
        try:
            if len(there) > 1:
                ids = ", ".join(str(one["id"]) for one in there)
                raise RefusedResultError(
                    f"the server has {len(there)} tasks for this image ({ids}): delete all but one"
                )
            return self._answered(want, task, known)
        except RefusedResultError as refused:
            return PulledTask(**known, state=TaskState.REFUSED, problem=str(refused))

    def _answered(self, want: ExpectedTask, task: Json, known: dict[str, Any]) -> PulledTask:
        """Return what people have done with a task, and note in `known` what is certain by then.

        Raises RefusedResultError where it cannot be used.
        """
        if _moment(task.get("updated_at")) is None:
            raise RefusedResultError(
                f"the task was changed at {shown(task.get('updated_at'))}, expected a time"
            )
        known["updated_at"] = task["updated_at"]
        annotations = checked(task.get("annotations"))
        annotation = chosen(annotations, self.policy, self.users)
        if annotation is None:
            return PulledTask(
                **known, state=TaskState.DRAFT if task.get("draft_exists") else TaskState.PENDING
            )
        known |= self._about(annotation)
        if annotation.get("was_cancelled"):
            return PulledTask(**known, state=TaskState.SKIPPED)
        boxes, apart = self._boxes(want, annotation, latest_of_each(annotations, self.users))
        edits = count_edits(_proposed(task, annotation), annotation["result"])
        state = TaskState.LABELLED if len(boxes) else TaskState.EMPTY
        return PulledTask(**known, state=state, boxes=boxes, edits=edits, disagreement=apart)

    def _boxes(
        self, want: ExpectedTask, annotation: Json, people: Sequence[Json]
    ) -> tuple[Boxes, float | None]:
        """Return the boxes that count, and how far several people are apart; None where one has labelled it."""
        boxes = self._drawn(want, annotation)
        if len(people) < 2:
            return boxes, None
        each = [self._drawn(want, one) for one in people]
        return consensus(each) if self.policy.rule == "consensus" else boxes, disagreement(each)

    def _drawn(self, want: ExpectedTask, annotation: Json) -> Boxes:
        # An answer without a result is a fault, and must not count as "nothing is on this image".
        size = ImageSize(want.width, want.height)
        return from_result(annotation.get("result"), size, self.classes, outlined=self.outlined)

    def _about(self, annotation: Json) -> dict[str, Any]:
        lead_time = annotation.get("lead_time")
        return {
            "annotation_id": annotation["id"],
            "updated_at": annotation["updated_at"],
            "annotator": author(annotation, self.users),
            "lead_time_s": float(lead_time) if is_number(lead_time) and 0 <= lead_time < 1e9 else None,
        }


def _proposed(task: Json, annotation: Json) -> list[Json]:
    """Return the regions that the annotation began with; without a note of it, the newest prediction's."""
    there = task.get("predictions")
    known = [
        one
        for one in (there if isinstance(there, list) else [])
        if isinstance(one, dict) and type(one.get("id")) is int and isinstance(one.get("result"), list)
    ]
    predictions = sorted(known, key=lambda one: int(one["id"]))
    parents = [one for one in predictions if one["id"] == annotation.get("parent_prediction")]
    chosen = (parents or predictions)[-1:]
    return list(chosen[0]["result"]) if chosen else []
