"""Send a batch of images to be labelled; a repeated push creates nothing twice.

A task is identified by our key in its data, since the server reuses its ids. A push lists the batch, imports
the missing tasks, lists the batch again and checks that every key is there exactly once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from al_loop.core.config import Drawn
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Api, Connection, all_of, condition
from al_loop.labelling.client.failures import NotFoundError, ServerFaultError, UnreachableError
from al_loop.labelling.client.image_serving import ImageServing
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import BLIND, REVIEW, OutgoingTask, PushResult
from al_loop.labelling.tasks.convert import to_prediction
from al_loop.labelling.tasks.outlines import Form
from al_loop.labelling.tasks.project import check_labels

CHUNK = 250
_ATTEMPTS = 3
_PAUSE_S = 1.0

# Columns that annotators do not need. They see the place in the queue, image, file name, reason and number of
# annotations. The others are hidden in the table ("explore") and beside an open task ("labeling").
_HIDDEN = [
    "tasks:id", "tasks:inner_id", "tasks:completed_at", "tasks:total_predictions", "tasks:annotators",
    "tasks:annotations_results", "tasks:annotations_ids", "tasks:predictions_score",
    "tasks:predictions_model_versions", "tasks:predictions_results", "tasks:file_upload",
    "tasks:storage_filename", "tasks:created_at", "tasks:updated_at", "tasks:updated_by",
    "tasks:avg_lead_time", "tasks:draft_exists", "tasks:data.al_key", "tasks:data.al_batch",
    "tasks:data.image_id", "tasks:data.width", "tasks:data.height", f"tasks:data.{BLIND}",
    f"tasks:data.{REVIEW}",
]  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Tasks that are pushed together.

    name: unique in the project.  model_version: that of the model whose boxes are shown.
    title: title of the tab, by default the name.  form: in which the model's outlines are shown.
    """

    name: str
    tasks: Sequence[OutgoingTask]
    model_version: str
    title: str = ""
    form: Form = "auto"


def push(
    connection: Connection,
    project_id: int,
    batch: Batch,
    *,
    classes: Sequence[str],
    images: ImageServing,
    drawn: Drawn = "rectangles",
) -> PushResult:
    """Push a batch into the project, with the model's boxes, and create its queue.

    drawn: with which tools people draw; the project must have them. Without "outlines" the model's outlines
        are not shown.
    Raises LabelStudioError if the push fails; the next call continues it.
    """
    ordered = sorted(batch.tasks, key=lambda task: task.rank)
    form = batch.form if drawn == "outlines" else None
    predictions = {task.key: to_prediction(task, classes, batch.model_version, form) for task in ordered}
    with connection.open() as api:
        config = api.project(project_id)["label_config"]
        check_labels(project_id, config, classes, drawn)
        keys = remove_duplicates(api, project_id, batch.name)
        missing = [task for task in ordered if task.key not in keys]
        urls = images.publish(api, project_id, ordered)
        if missing:
            _check_first_image(api, project_id, images, missing[0], urls[missing[0].key])
            tasks = {t.key: to_task(t, batch.name, urls[t.key], predictions[t.key]) for t in missing}
            _import_tasks(api, project_id, batch.name, tasks)
            keys = remove_duplicates(api, project_id, batch.name)  # a lost answer may double an import
        _check_complete(project_id, batch, keys)
        if ordered:
            # Only predictions of the project's model version are shown. Importing sets it only once.
            api.update_project(project_id, model_version=batch.model_version)
        view_id = ensure_view(api, project_id, batch_filter(batch.name), batch.title or batch.name)
        return PushResult(
            created=len(missing),
            already_there=len(ordered) - len(missing),
            view_id=view_id,
            queue_url=queue_url(connection.base_url, project_id, view_id),
        )


def remove_duplicates(api: Api, project_id: int, batch: str) -> set[str]:
    """Delete duplicates of a batch's tasks that nobody worked on, and return the keys on the server.

    Of several tasks with the same key, the one that people worked on stays, otherwise the oldest.
    Raises LabelStudioError, and deletes nothing, if people worked on more than one.
    """
    listed = group_by_key(api.tasks(project_id, batch_filter(batch), whole=False))
    duplicates = [{int(task["id"]) for task in tasks} for tasks in listed.values() if len(tasks) > 1]
    if not duplicates:
        return set(listed)
    whole = {int(task["id"]): task for task in api.tasks(project_id, batch_filter(batch), whole=True)}
    surplus, contested = [], []
    for ids in duplicates:
        used = {i for i in ids if i not in whole or _has_work(whole[i])}
        if len(used) > 1:
            contested.append(sorted(used))
        else:
            surplus += sorted(ids - (used or {min(ids)}))
    if contested:
        named = "; ".join(f"tasks {', '.join(map(str, ids))}" for ids in contested[:5])
        raise LabelStudioError(
            f"{len(contested)} images of batch {batch} are in project {project_id} more than once, and "
            f"people have worked on more than one of each ({named}). Nothing was deleted. Keep one of "
            "each in Label Studio, delete the others, and run the command again"
        )
    for task_id in surplus:
        api.delete_task(task_id)
    return set(listed)


def _has_work(task: Json) -> bool:
    """Whether people have submitted, skipped or drafted an answer; True if the task does not say."""
    return task.get("annotations") != [] or bool(task.get("drafts") or task.get("draft_exists"))


def group_by_key(tasks: Iterable[Json]) -> dict[str, list[Json]]:
    """Group tasks by our key."""
    groups: dict[str, list[Json]] = {}
    for task in tasks:
        groups.setdefault(str(task["data"].get("al_key")), []).append(task)
    return groups


def queue_url(server: str, project_id: int, view_id: int) -> str:
    """Return the address of the page where people label the tasks of a view one after the other.

    It passes over finished tasks.
    """
    return f"{tab_url(server, project_id, view_id)}&labeling=1"


def tab_url(server: str, project_id: int, view_id: int) -> str:
    """Return the address of the page that lists the tasks of a view."""
    return f"{server}/projects/{project_id}/data?tab={view_id}"


def batch_filter(batch: str) -> Json:
    """Return the condition that selects a batch's tasks."""
    return condition("data.al_batch", "equal", "String", batch)


def ensure_view(api: Api, project_id: int, shown: Json, title: str) -> int:
    """Return the id of the tab of some tasks, ordered by rank; create it if it is missing.

    shown: condition that selects the tasks.
    """
    for view in api.views(project_id):
        if _condition_of_view(view, shown["filter"]) == shown["value"]:
            return int(view["id"])
    return api.create_view(
        project_id,
        {
            "title": title,
            "type": "list",
            "target": "tasks",
            "filters": all_of(shown),
            "ordering": ["tasks:data.al_rank"],
            "columnsDisplayType": {"tasks:data.al_rank": "Number", "tasks:data.image": "Image"},
            "hiddenColumns": {"explore": _HIDDEN, "labeling": _HIDDEN},
        },
    )


def _condition_of_view(view: Json, field: str) -> str | None:
    """Return the value that a tab's only condition asks of a field; None for a tab that people created."""
    items = ((view.get("data") or {}).get("filters") or {}).get("items") or []
    ours = [item for item in items if item.get("filter") == field]
    return ours[0].get("value") if len(items) == len(ours) == 1 else None


def to_task(task: OutgoingTask, batch: str, url: str, prediction: Json) -> Json:
    """Return a task as the server expects it: image address, our fields, and the model's boxes."""
    data = {
        "image": url,
        "al_key": task.key,
        "al_batch": batch,
        "al_rank": task.rank,
        "uncertainty": float(task.uncertainty),
        "file_name": task.file_name,
        "reason": task.reason,
        "image_id": task.image_id,
        "width": task.width,
        "height": task.height,
    }
    return {"data": data | ({BLIND: True} if task.blind else {}), "predictions": [prediction]}


class HiddenImageError(LabelStudioError):
    """The server does not show an image to annotators."""


def check_image(api: Api, project_id: int, images: ImageServing, task: OutgoingTask, url: str) -> None:
    """Request an image as an annotator's browser does; raise HiddenImageError if it is not served."""
    try:
        content_type = images.content_type(api, project_id, url)
        if not content_type.startswith("image/"):
            raise LabelStudioError(
                f"{url} answers with {content_type or 'no content type'} instead of an image"
            )
    except UnreachableError:
        raise
    except LabelStudioError as error:
        raise HiddenImageError(f"{task.file_name} is not reachable from the browser: {error}") from None


def _check_first_image(api: Api, project_id: int, images: ImageServing, task: OutgoingTask, url: str) -> None:
    """Check the first image before the push: otherwise people might see empty pages."""
    try:
        check_image(api, project_id, images, task, url)
    except HiddenImageError as error:
        raise LabelStudioError(
            f"{error}. Nothing was pushed. Check label_studio.images in al-loop.toml and the project's "
            "storage (Settings, Cloud Storage), then run: al-loop label-studio check"
        ) from None


def _import_tasks(api: Api, project_id: int, batch: str, tasks: dict[str, Json]) -> None:
    """Import tasks in chunks. An error may follow the server's commit: list before you send again."""
    waiting = dict(tasks)
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                time.sleep(_PAUSE_S * attempt)
                for key in group_by_key(api.tasks(project_id, batch_filter(batch), whole=False)):
                    waiting.pop(key, None)
            while waiting:
                keys = list(waiting)[:CHUNK]
                api.import_tasks(project_id, [waiting[key] for key in keys])
                for key in keys:
                    del waiting[key]
            return
        except (UnreachableError, ServerFaultError):
            if attempt == _ATTEMPTS - 1:
                raise


def _check_complete(project_id: int, batch: Batch, keys: set[str]) -> None:
    missing = [task.key for task in batch.tasks if task.key not in keys]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of {len(batch.tasks)} tasks of batch {batch.name} are missing after the import "
            f"into project {project_id}, first {missing[0]}. Run the command again"
        )
