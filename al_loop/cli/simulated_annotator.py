"""A simulated annotator: labels a queue through the web server as a person's browser does.

It logs in on the login page (session and CSRF token, no API token), opens the queue, asks for the next
task, downloads its image, corrects the model's boxes to the given truth, and submits. The demo and the tests
use it; it does not know the keys of tasks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import explain_failures
from al_loop.labelling.client.responses import Json
from al_loop.labelling.tasks.convert import clip, from_result, new_region, region
from al_loop.labelling.tasks.outlines import exact_value
from al_loop.labelling.tasks.regions import ImageSize
from al_loop.structures.boxes import Boxes, FloatArray, iou

if TYPE_CHECKING:
    import httpx

# A proposed box is corrected if it overlaps the object this much; otherwise it is deleted.
KEEP_IOU = 0.5

_ACTIONS = "/api/dm/actions"  # 404: the queue is empty

Truth = Callable[[str], Boxes | None]


@dataclass(frozen=True)
class AnnotatorCounts:
    """Tasks by outcome, and boxes by what became of the model's."""

    labelled: int = 0
    empty: int = 0
    skipped: int = 0
    kept: int = 0
    deleted: int = 0
    added: int = 0

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.labelled + self.empty + self.skipped


@dataclass(frozen=True)
class SimulatedAnnotator:
    """An annotator with a login."""

    url: str
    email: str
    password: str = field(repr=False)

    def annotate(
        self,
        project_id: int,
        view_id: int,
        truth: Truth,
        *,
        classes: Sequence[str],
        limit: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> AnnotatorCounts:
        """Label the queue of a view until it is empty, or `limit` tasks are done.

        truth: returns the boxes of an image by its id; None skips the task, no boxes submit it empty.
        classes: names in the order of the truth's labels.
        on_progress: called with the number of tasks done.
        Raises LabelStudioError if the login fails or a task does not show its image.
        """
        done: dict[int, AnnotatorCounts] = {}
        with _logged_in(self.url, self.email, self.password) as http:
            http.get(f"/projects/{project_id}/data?tab={view_id}&labeling=1")
            shown = http.get(f"/api/projects/{project_id}/").json().get("model_version")
            project = {"project": project_id}
            queue = http.get(f"/api/dm/views/{view_id}/", params=project).json()["data"]
            while limit is None or len(done) < limit:
                task_id = _next_task(http, project_id, queue)
                if task_id is None or task_id in done:  # a server may hand out skipped tasks again
                    break
                task = _open_task(http, project_id, task_id, shown)
                answer, done[task_id] = _fill_in(task, truth(task.image_id), classes)
                http.post(f"/api/tasks/{task_id}/annotations", json=answer, params=project)
                if on_progress is not None:
                    on_progress(len(done))
        return AnnotatorCounts(*(sum(column) for column in zip(*map(astuple, done.values()), strict=True)))


@dataclass(frozen=True)
class _Task:
    """What an annotator sees: an image, and the model's boxes if any are shown."""

    project_id: int
    image_id: str
    size: ImageSize
    prediction_id: int | None
    proposed: list[Json]
    opened: datetime


def correct(proposed: list[Json], truth: Boxes, size: ImageSize, classes: Sequence[str]) -> list[Json]:
    """Return the regions that a careful annotator leaves: proposals moved onto the objects, false ones gone.

    Pairs have IoU >= KEEP_IOU, the largest in sum; a wrong label on a good box is changed; an object without
    a proposal gets a new box or outline. So does one whose proposal is of another kind, such as a rectangle
    where an outline is drawn. Coordinates are those of the truth.
    """
    regions = []
    wanted = clip(truth.xyxy, size)
    pairs = _pair(from_result(proposed, size, classes, "outlines").xyxy, wanted)
    for row, xyxy in enumerate(wanted):
        if (xyxy[2:] <= xyxy[:2]).any():
            continue  # an object that is wholly outside the image
        name, label = f"drawn{row:05d}", classes[int(truth.labels[row])]
        outline = truth.outlines[row] if truth.outlines else None
        made = (
            new_region(name, *exact_value(outline, size), label, size)
            if outline
            else region(name, xyxy, label, size)
        )
        kept = proposed[pairs[row]] if row in pairs else {}
        if kept.get("type") != made["type"]:
            regions.append({**made, "origin": "manual"})
            continue
        # As the editor does: a proposal keeps its id and its score, and notes where it came from.
        origin = "prediction-changed" if kept.get("value") != made["value"] else "prediction"
        regions.append({**kept, **made, "id": kept["id"], "origin": origin})
    return regions


def _fill_in(task: _Task, truth: Boxes | None, classes: Sequence[str]) -> tuple[Json, AnnotatorCounts]:
    """Return what is submitted for a task, and its counts."""
    result = [] if truth is None else correct(task.proposed, truth, task.size, classes)
    answer = {
        "result": result,
        "was_cancelled": truth is None,
        "draft_id": 0,
        "parent_prediction": task.prediction_id,
        "parent_annotation": None,
        "started_at": task.opened.isoformat(),
        "lead_time": (datetime.now(UTC) - task.opened).total_seconds(),
        "project": task.project_id,
    }
    if truth is None:
        return answer, AnnotatorCounts(skipped=1)
    kept = len({one["id"] for one in task.proposed} & {one["id"] for one in result})
    return answer, AnnotatorCounts(
        labelled=int(bool(result)),
        empty=int(not result),
        kept=kept,
        deleted=len(task.proposed) - kept,
        added=len(result) - kept,
    )


def _pair(proposed: FloatArray, truth: FloatArray) -> dict[int, int]:
    """Return which proposal becomes which object, {truth row: proposal row}."""
    overlaps = iou(proposed, truth)
    kept = np.where(overlaps >= KEEP_IOU, overlaps, 0.0)
    pairs = zip(*linear_sum_assignment(kept, maximize=True), strict=True)
    return {int(real): int(guess) for guess, real in pairs if kept[guess, real]}


@contextmanager
def _logged_in(url: str, email: str, password: str) -> Iterator[httpx.Client]:
    """Log in as a person does. The client sends the CSRF token and raises LabelStudioError for refusals."""
    import httpx

    from al_loop.labelling.client.http import csrf_token

    connection = Connection(url.rstrip("/"), token="")
    login = f"{connection.url}/user/login/"
    with (
        httpx.Client(base_url=connection.url, timeout=60.0, trust_env=not connection.is_local) as http,
        explain_failures(connection.url, "label as a person does"),
    ):
        http.get(login)
        form = {"email": email, "password": password, "csrfmiddlewaretoken": csrf_token(http.cookies)}
        if http.post(login, data=form, headers={"Referer": login}).status_code != 302:
            raise LabelStudioError(f"{connection.url} does not accept the login of {email}")

        def sign(request: httpx.Request) -> None:
            if request.method == "POST":
                request.headers.update({"X-CSRFToken": csrf_token(http.cookies), "Referer": connection.url})

        def check(answer: httpx.Response) -> None:
            status, path = answer.status_code, answer.request.url.path
            if status not in (200, 201) and not (status == 404 and path.endswith(_ACTIONS)):
                raise LabelStudioError(f"{connection.url} answered {status} for {path}")

        http.event_hooks = {"request": [sign], "response": [check]}
        yield http


def _next_task(http: httpx.Client, project_id: int, queue: Json) -> int | None:
    """Return the id of the next task of a queue, None at its end."""
    body = {"filters": queue["filters"], "ordering": queue["ordering"]}
    answer = http.post(_ACTIONS, json=body, params={"id": "next_task", "project": project_id})
    return None if answer.status_code == 404 else int(answer.json()["id"])


def _open_task(http: httpx.Client, project_id: int, task_id: int, model_version: str | None) -> _Task:
    """Open a task: its image, and the prediction that the project shows."""
    opened = datetime.now(UTC)
    task = http.get(f"/api/tasks/{task_id}/", params={"project": project_id}).json()
    data = task["data"]
    size = _image_size(http, task_id, data["image"])
    if size != (data["width"], data["height"]):
        raise LabelStudioError(
            f"task {task_id} shows an image of {size[0]}x{size[1]} pixels, "
            f"expected {data['width']}x{data['height']}"
        )
    visible = [one for one in task.get("predictions") or [] if one.get("model_version") == model_version]
    first = visible[0] if visible else {}
    proposed = list(first.get("result") or [])
    return _Task(project_id, data["image_id"], ImageSize(*size), first.get("id"), proposed, opened)


def _image_size(http: httpx.Client, task_id: int, url: str) -> tuple[int, int]:
    """Download the image of a task and return its width and height in pixels."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(http.get(url).content)) as image:
            return ImageOps.exif_transpose(image).size
    except (UnidentifiedImageError, OSError) as error:
        raise LabelStudioError(f"task {task_id} shows something that is no image: {error}") from error
