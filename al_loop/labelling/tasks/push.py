"""Send a batch of images to be labelled; a repeat creates nothing twice.

Identity is our key inside `task.data`: the server's ids are reused after a deletion. So a push is:
list what is there, import what is missing, list again and check that every key is there exactly once.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import (
    Api,
    Connection,
    Json,
    NotFoundError,
    ServerFaultError,
    UnreachableError,
)
from al_loop.labelling.client.image_serving import ImageServing
from al_loop.labelling.client.task import OutgoingTask, PushResult
from al_loop.labelling.tasks.convert import to_prediction
from al_loop.labelling.tasks.project import check_labels, with_literal_labels

CHUNK = 250
_ATTEMPTS = 3
_PAUSE_S = 1.0

# What an annotator needs is left: place in the queue, image, file name, why it was picked, how many
# annotations it has. Hidden both in the table ("explore") and beside an open task ("labeling").
_HIDDEN = [
    "tasks:id", "tasks:inner_id", "tasks:completed_at", "tasks:total_predictions", "tasks:annotators",
    "tasks:annotations_results", "tasks:annotations_ids", "tasks:predictions_score",
    "tasks:predictions_model_versions", "tasks:predictions_results", "tasks:file_upload",
    "tasks:storage_filename", "tasks:created_at", "tasks:updated_at", "tasks:updated_by",
    "tasks:avg_lead_time", "tasks:draft_exists", "tasks:data.al_key", "tasks:data.al_batch",
    "tasks:data.image_id", "tasks:data.width", "tasks:data.height",
]  # fmt: skip


def push(
    connection: Connection,
    project_id: int,
    batch: str,
    tasks: Sequence[OutgoingTask],
    *,
    model_version: str,
    classes: Sequence[str],
    images: ImageServing,
    title: str | None = None,
    outlined: bool = False,
) -> PushResult:
    """Put `tasks` into the project as one batch, with the model's boxes, and make its queue.

    batch: our name of the batch, unique in the project.  title: what people see on the tab.
    outlined: whether people are to draw outlines, which the project must then offer.
    Raises LabelStudioError; whatever was done by then is found again by the next call.
    """
    ordered = sorted(tasks, key=lambda task: task.rank)
    predictions = {task.key: to_prediction(task, classes, model_version) for task in ordered}
    _check(ordered)
    with connection.open() as api:
        config = api.project(project_id)["label_config"]
        check_labels(project_id, config, classes, outlined=outlined)
        if mended := with_literal_labels(config):  # made by an al-loop that wrote "$price" as it is
            api.update_project(project_id, label_config=mended)
        there = settled(api, project_id, batch)
        missing = [task for task in ordered if task.key not in there]
        urls = images.publish(api, project_id, ordered)
        if missing:
            _check_before(api, project_id, images, missing[0], urls[missing[0].key])
        payload = {task.key: to_task(task, batch, urls[task.key], predictions[task.key]) for task in missing}
        _import_missing(api, project_id, batch, payload)
        if payload:  # a reply that was lost on its way back doubles what it answers
            there = settled(api, project_id, batch)
        _check_complete(project_id, batch, ordered, there)
        if ordered:
            # Predictions are shown only under the project's model version; importing sets it just once.
            api.update_project(project_id, model_version=model_version)
        view_id = ensure_view(api, project_id, batch, title or batch)
        return PushResult(
            created=len(missing),
            already_there=len(ordered) - len(missing),
            view_id=view_id,
            queue_url=queue_url(connection.base_url, project_id, view_id),
        )


def settled(api: Api, project_id: int, batch: str) -> set[str]:
    """Delete tasks that a batch has more than once, where nobody has worked on the surplus; return what is there by key.

    Of tasks with one key the oldest stays, or the one that people have worked on. Raises LabelStudioError where they
    have worked on several: all of them are kept then, and named.
    """
    found: dict[str, list[Json]] = {}
    for task in api.tasks(project_id, batch_filter(batch), whole=False):
        found.setdefault(str(task["data"].get("al_key")), []).append(task)
    doubled = {key: {int(task["id"]) for task in tasks} for key, tasks in found.items() if len(tasks) > 1}
    there = set(found)
    if not doubled:
        return there
    whole = {int(task["id"]): task for task in api.tasks(project_id, batch_filter(batch), whole=True)}
    surplus, contested = [], []
    for ids in doubled.values():
        touched = {i for i in ids if i not in whole or _touched(whole[i])}
        if len(touched) > 1:
            contested.append(sorted(touched))
        else:
            surplus += sorted(ids - (touched or {min(ids)}))
    if contested:
        named = "; ".join(f"tasks {', '.join(map(str, ids))}" for ids in contested[:5])
        raise LabelStudioError(
            f"{len(contested)} images of batch {batch} are in project {project_id} more than once, and people have worked on "
            f"more than one of each ({named}). Nothing was deleted: choose one of each in Label Studio, delete the others, and "
            "run the command again"
        )
    for task_id in surplus:
        api.delete_task(task_id)
    return there


def _touched(task: Json) -> bool:
    """Whether people have worked on a task: submitted, skipped, or left a draft; also where the answer does not say."""
    return task.get("annotations") != [] or bool(task.get("drafts") or task.get("draft_exists"))


def queue_url(server: str, project_id: int, view_id: int) -> str:
    """Return the page of a server where people label a view's tasks one after the other."""
    return f"{server}/projects/{project_id}/data?tab={view_id}&labeling=1"


def batch_filter(batch: str) -> Json:
    """Return the filter that selects a batch's tasks."""
    field = {"filter": "filter:tasks:data.al_batch", "operator": "equal", "type": "String", "value": batch}
    return {"conjunction": "and", "items": [field]}


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
            "filters": batch_filter(batch),
            "ordering": ["tasks:data.al_rank"],
            "columnsDisplayType": {"tasks:data.al_rank": "Number", "tasks:data.image": "Image"},
            "hiddenColumns": {"explore": _HIDDEN, "labeling": _HIDDEN},
        },
    )


def _batch_of(view: Json) -> str | None:
    """Return the batch a tab shows; None for a tab that people made."""
    items = ((view.get("data") or {}).get("filters") or {}).get("items") or []
    own = [item for item in items if item.get("filter") == "filter:tasks:data.al_batch"]
    return own[0].get("value") if len(items) == len(own) == 1 else None


def _check(tasks: Sequence[OutgoingTask]) -> None:
    repeated = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
    if repeated:
        raise LabelStudioError(
            f"every task of a batch needs a key of its own; given more than once: {repeated[0]}"
        )
    for task in tasks:
        if not math.isfinite(task.uncertainty):
            raise LabelStudioError(
                f"task {task.key} has uncertainty {task.uncertainty}, expected a finite number"
            )


def to_task(task: OutgoingTask, batch: str, url: str, prediction: Json) -> Json:
    """Return a task as the server takes it: the address of its image, our fields, and the model's boxes."""
    data: dict[str, Any] = {
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


def check_image(api: Api, project_id: int, images: ImageServing, task: OutgoingTask, url: str) -> None:
    """Ask for one image as an annotator's browser will: without it, people would see empty pages."""
    try:
        kind = images.kind(api, project_id, url)
        if not kind.startswith("image/"):
            raise LabelStudioError(f"{url} answers with {kind or 'nothing'} in place of an image")
    except UnreachableError:
        raise
    except LabelStudioError as error:
        raise LabelStudioError(f"{task.file_name} is not reachable from the browser: {error}") from None


def _check_before(api: Api, project_id: int, images: ImageServing, task: OutgoingTask, url: str) -> None:
    try:
        check_image(api, project_id, images, task, url)
    except UnreachableError:
        raise
    except LabelStudioError as error:
        raise LabelStudioError(
            f"{error}. Nothing was pushed. Look at label_studio.images in al-loop.toml and at the project's storage "
            "(Settings, Cloud Storage), then run: al-loop label-studio check"
        ) from None


def _keys(api: Api, project_id: int, batch: str) -> set[str]:
    return {
        str(task["data"].get("al_key")) for task in api.tasks(project_id, batch_filter(batch), whole=False)
    }


def _import_missing(api: Api, project_id: int, batch: str, payload: dict[str, Json]) -> None:
    """Import in pieces; an error may come after the server's commit, so list before sending again."""
    waiting = dict(payload)
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                time.sleep(_PAUSE_S * attempt)
                there = _keys(api, project_id, batch)
                waiting = {key: task for key, task in waiting.items() if key not in there}
            while waiting:
                keys = list(waiting)[:CHUNK]
                api.import_tasks(project_id, [waiting[key] for key in keys])
                waiting = {key: task for key, task in waiting.items() if key not in keys}
            return
        except (UnreachableError, ServerFaultError):
            if attempt == _ATTEMPTS - 1:
                raise


def _check_complete(project_id: int, batch: str, tasks: Sequence[OutgoingTask], there: set[str]) -> None:
    lost = [task.key for task in tasks if task.key not in there]
    if lost:
        raise NotFoundError(
            f"{len(lost)} of {len(tasks)} tasks of batch {batch} are not in project {project_id} after the "
            f"import, first {lost[0]}; run the command again"
        )
