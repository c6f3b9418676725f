"""Send a batch of images to be labelled; a repeat creates nothing twice.

A task is known by our key in its data, since the server reuses its ids. A push lists the batch, imports
missing tasks, lists again and checks that every key is there exactly once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Api, Connection, all_of, condition
from al_loop.labelling.client.failures import NotFoundError, ServerFaultError, UnreachableError
from al_loop.labelling.client.image_serving import ImageServing
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import OutgoingTask, PushResult
from al_loop.labelling.tasks.convert import to_prediction
from al_loop.labelling.tasks.project import check_labels

CHUNK = 250
_ATTEMPTS = 3
_PAUSE_S = 1.0

# Annotators see the place in the queue, image, file name, reason and number of annotations. All else is
# hidden, in the table ("explore") and beside an open task ("labeling").
_HIDDEN = [
    "tasks:id", "tasks:inner_id", "tasks:completed_at", "tasks:total_predictions", "tasks:annotators",
    "tasks:annotations_results", "tasks:annotations_ids", "tasks:predictions_score",
    "tasks:predictions_model_versions", "tasks:predictions_results", "tasks:file_upload",
    "tasks:storage_filename", "tasks:created_at", "tasks:updated_at", "tasks:updated_by",
    "tasks:avg_lead_time", "tasks:draft_exists", "tasks:data.al_key", "tasks:data.al_batch",
    "tasks:data.image_id", "tasks:data.width", "tasks:data.height",
]  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Tasks that are pushed together.

    name: unique in the project.  model_version: of the model whose boxes are drawn.
    title: of the tab, by default the name.
    """

    name: str
    tasks: Sequence[OutgoingTask]
    model_version: str
    title: str = ""


def push(
    connection: Connection,
    project_id: int,
    batch: Batch,
    *,
    classes: Sequence[str],
    images: ImageServing,
    outlined: bool = False,
) -> PushResult:
    """Put a batch into the project, with the model's boxes, and create its queue.

    outlined: whether people draw outlines, for which the project must have controls.
    Raises LabelStudioError; the next call continues.
    """
    ordered = sorted(batch.tasks, key=lambda task: task.rank)
    predictions = {task.key: to_prediction(task, classes, batch.model_version) for task in ordered}
    with connection.open() as api:
        config = api.project(project_id)["label_config"]
        check_labels(project_id, config, classes, outlined=outlined)
        keys = remove_duplicates(api, project_id, batch.name)
        missing = [task for task in ordered if task.key not in keys]
        urls = images.publish(api, project_id, ordered)
        if missing:
            _check_first(api, project_id, images, missing[0], urls[missing[0].key])
            tasks = {t.key: to_task(t, batch.name, urls[t.key], predictions[t.key]) for t in missing}
            _import(api, project_id, batch.name, tasks)
            keys = remove_duplicates(api, project_id, batch.name)  # a lost answer doubles its request
        _check_complete(project_id, batch, keys)
        if ordered:
            # Predictions are shown only under the project's model version; importing sets it just once.
            api.update_project(project_id, model_version=batch.model_version)
        view_id = ensure_view(api, project_id, batch.name, batch.title or batch.name)
        return PushResult(
            created=len(missing),
            already_there=len(ordered) - len(missing),
            view_id=view_id,
            queue_url=queue_url(connection.base_url, project_id, view_id),
        )


def remove_duplicates(api: Api, project_id: int, batch: str) -> set[str]:
    """Delete untouched duplicates of a batch's tasks and return the keys on the server.

    Of tasks with one key the touched one stays, or else the oldest. Raises LabelStudioError, and deletes
    nothing, if people have worked on several.
    """
    listed = by_key(api.tasks(project_id, batch_filter(batch), whole=False))
    doubled = [{int(task["id"]) for task in tasks} for tasks in listed.values() if len(tasks) > 1]
    if not doubled:
        return set(listed)
    whole = {int(task["id"]): task for task in api.tasks(project_id, batch_filter(batch), whole=True)}
    surplus, contested = [], []
    for ids in doubled:
        touched = {i for i in ids if i not in whole or _touched(whole[i])}
        if len(touched) > 1:
            contested.append(sorted(touched))
        else:
            surplus += sorted(ids - (touched or {min(ids)}))
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


def _touched(task: Json) -> bool:
    """Whether people have submitted, skipped or drafted; also if the answer does not say."""
    return task.get("annotations") != [] or bool(task.get("drafts") or task.get("draft_exists"))


def by_key(tasks: Iterable[Json]) -> dict[str, list[Json]]:
    """Group tasks by our key."""
    groups: dict[str, list[Json]] = {}
    for task in tasks:
        groups.setdefault(str(task["data"].get("al_key")), []).append(task)
    return groups


def queue_url(server: str, project_id: int, view_id: int) -> str:
    """Return the page where people label a view's tasks one after the other."""
    return f"{server}/projects/{project_id}/data?tab={view_id}&labeling=1"


def batch_filter(batch: str) -> Json:
    """Return the condition that selects a batch's tasks."""
    return condition("data.al_batch", "equal", "String", batch)


def ensure_view(api: Api, project_id: int, batch: str, title: str) -> int:
    """Return the id of the tab that shows a batch in the order of its ranks."""
    for view in api.views(project_id):
        if _batch_of(view) == batch:
            return int(view["id"])
    return api.create_view(
        project_id,
        {
            "title": title,
            "type": "list",
            "target": "tasks",
            "filters": all_of(batch_filter(batch)),
            "ordering": ["tasks:data.al_rank"],
            "columnsDisplayType": {"tasks:data.al_rank": "Number", "tasks:data.image": "Image"},
            "hiddenColumns": {"explore": _HIDDEN, "labeling": _HIDDEN},
        },
    )


def _batch_of(view: Json) -> str | None:
    """Return the batch that a tab shows; None for a tab that people created."""
    items = ((view.get("data") or {}).get("filters") or {}).get("items") or []
    ours = [item for item in items if item.get("filter") == "filter:tasks:data.al_batch"]
    return ours[0].get("value") if len(items) == len(ours) == 1 else None


def to_task(task: OutgoingTask, batch: str, url: str, prediction: Json) -> Json:
    """Return a task for the server: the address of its image, our fields, and the model's boxes."""
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
    return {"data": data, "predictions": [prediction]}


class HiddenImageError(LabelStudioError):
    """The server does not show an image to annotators."""


def check_image(api: Api, project_id: int, images: ImageServing, task: OutgoingTask, url: str) -> None:
    """Request an image as an annotator's browser would; raise HiddenImageError if it is not served."""
    try:
        kind = images.kind(api, project_id, url)
        if not kind.startswith("image/"):
            raise LabelStudioError(f"{url} answers with {kind or 'nothing'} in place of an image")
    except UnreachableError:
        raise
    except LabelStudioError as error:
        raise HiddenImageError(f"{task.file_name} is not reachable from the browser: {error}") from None


def _check_first(api: Api, project_id: int, images: ImageServing, task: OutgoingTask, url: str) -> None:
    """Check an image before the push: otherwise people would see empty pages."""
    try:
        check_image(api, project_id, images, task, url)
    except HiddenImageError as error:
        raise LabelStudioError(
            f"{error}. Nothing was pushed. Check label_studio.images in al-loop.toml and the project's "
            "storage (Settings, Cloud Storage), then run: al-loop label-studio check"
        ) from None


def _import(api: Api, project_id: int, batch: str, tasks: dict[str, Json]) -> None:
    """Import tasks in pieces. An error may follow the server's commit, so list before sending again."""
    waiting = dict(tasks)
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                time.sleep(_PAUSE_S * attempt)
                for key in by_key(api.tasks(project_id, batch_filter(batch), whole=False)):
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
    lost = [task.key for task in batch.tasks if task.key not in keys]
    if lost:
        raise NotFoundError(
            f"{len(lost)} of {len(batch.tasks)} tasks of batch {batch.name} are missing after the import "
            f"into project {project_id}, first {lost[0]}. Run the command again"
        )
