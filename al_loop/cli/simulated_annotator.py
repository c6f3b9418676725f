"""A simulated annotator: labels a queue through the web server exactly as a person's browser does.

It logs in on the login page (session and CSRF token, no API token), opens the queue, asks for the next
task, downloads the image that the task shows, sees the model's boxes, corrects them to the truth it was
given, and submits. The demo, the tests and the benchmark use it; it does not know the keys of tasks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import explained
from al_loop.labelling.client.responses import Json
from al_loop.labelling.tasks.convert import ImageSize, clip, region
from al_loop.structures.boxes import Boxes, FloatArray, iou

if TYPE_CHECKING:
    import httpx

# A proposed box is worth correcting when it overlaps the object this much; else it is deleted.
KEEP_IOU = 0.5

Truth = Callable[[str], Boxes | None]


@dataclass(frozen=True)
class AnnotatorCounts:
    """What the annotator did: tasks by outcome, boxes by what became of the proposal."""

    labelled: int = 0
    empty: int = 0
    skipped: int = 0
    kept: int = 0
    deleted: int = 0
    added: int = 0

    @property
    def tasks(self) -> int:
        """The number of tasks handled."""
        return self.labelled + self.empty + self.skipped


@dataclass(frozen=True)
class SimulatedAnnotator:
    """A person with a login and the truth before their eyes."""

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
        """Work through the queue of a view until it is empty, or `limit` tasks are done.

        truth: the boxes of an image by its id (SHA-256, from the task's data); None means "cannot be
        judged" and skips the task, no boxes submits it empty.  classes: their names, in the order of the
        truth's labels.  on_progress gets the tasks done so far.
        Raises LabelStudioError when the login fails or a task does not show its image.
        """
        done: dict[int, AnnotatorCounts] = {}
        with _Browser.open(self.url, self.email, self.password) as browser:
            browser.page(f"/projects/{project_id}/data?tab={view_id}&labeling=1")
            shown = browser.get(f"/api/projects/{project_id}/").get("model_version")
            queue = browser.get(f"/api/dm/views/{view_id}/", project=project_id)["data"]
            while limit is None or len(done) < limit:
                task_id = browser.next_task(project_id, queue)
                if task_id is None or task_id in done:  # a server may hand out skipped tasks again
                    break
                sheet = browser.open_task(project_id, task_id, shown)
                answer, done[task_id] = _fill_in(sheet, truth(sheet.image_id), classes)
                browser.post(f"/api/tasks/{task_id}/annotations", answer, project=project_id)
                if on_progress is not None:
                    on_progress(len(done))
        return AnnotatorCounts(*(sum(column) for column in zip(*map(astuple, done.values()), strict=True)))


@dataclass(frozen=True)
class _Sheet:
    """What a person has before them: a task with its image, and the model's boxes if any are shown."""

    project_id: int
    image_id: str
    size: ImageSize
    prediction_id: int | None
    proposed: list[Json]
    opened: datetime


def correct(proposed: list[Json], truth: Boxes, size: ImageSize, classes: Sequence[str]) -> list[Json]:
    """Return the regions a careful person leaves: proposals moved onto the objects, false ones gone.

    Pairs are made greedily by IoU >= KEEP_IOU; a wrong label on a good box is changed; an object without
    a proposal gets a box of its own. Coordinates are the truth's.
    """
    regions = []
    wanted = clip(truth.xyxy, size)
    pairs = _pair(np.array([_pixels(one, size) for one in proposed]).reshape(-1, 4), wanted)
    for row, xyxy in enumerate(wanted):
        if (xyxy[2:] <= xyxy[:2]).any():
            continue  # an object that is wholly outside the image
        kept = proposed[pairs[row]] if row in pairs else None
        made = region(f"drawn{row:05d}", xyxy, classes[int(truth.labels[row])], size)
        # As the editor does: a proposal keeps its id and its score, and notes where it came from.
        regions.append(
            {**made, "origin": "manual"} if kept is None else {**kept, **made, **_traits(kept, made)}
        )
    return regions


def _traits(kept: Json, made: Json) -> Json:
    changed = kept.get("value") != made["value"]
    return {"id": kept["id"], "origin": "prediction-changed" if changed else "prediction"}


def _fill_in(sheet: _Sheet, truth: Boxes | None, classes: Sequence[str]) -> tuple[Json, AnnotatorCounts]:
    """Return what is submitted for a task, and what that was."""
    result = [] if truth is None else correct(sheet.proposed, truth, sheet.size, classes)
    answer = {
        "result": result,
        "was_cancelled": truth is None,
        "draft_id": 0,
        "parent_prediction": sheet.prediction_id,
        "parent_annotation": None,
        "started_at": sheet.opened.isoformat(),
        "lead_time": (datetime.now(UTC) - sheet.opened).total_seconds(),
        "project": sheet.project_id,
    }
    if truth is None:
        return answer, AnnotatorCounts(skipped=1)
    kept = len({one["id"] for one in sheet.proposed} & {one["id"] for one in result})
    return answer, AnnotatorCounts(
        labelled=int(bool(result)),
        empty=int(not result),
        kept=kept,
        deleted=len(sheet.proposed) - kept,
        added=len(result) - kept,
    )


def _pixels(item: Mapping[str, Any], size: ImageSize) -> list[float]:
    value = item["value"]
    left, top = value["x"] * size.width / 100, value["y"] * size.height / 100
    return [left, top, left + value["width"] * size.width / 100, top + value["height"] * size.height / 100]


def _pair(proposed: FloatArray, truth: FloatArray) -> dict[int, int]:
    """Return which proposal becomes which object ({truth row: proposal row}), best overlap first."""
    overlaps = iou(proposed, truth)
    pairs: dict[int, int] = {}
    for index in np.argsort(-overlaps, axis=None, kind="stable"):
        guess, real = (int(i) for i in np.unravel_index(index, overlaps.shape))
        if overlaps[guess, real] < KEEP_IOU:
            break
        if real not in pairs and guess not in pairs.values():
            pairs[real] = guess
    return pairs


class _Browser:
    """A logged-in session; sends the CSRF token with everything that changes something."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url

    @classmethod
    @contextmanager
    def open(cls, url: str, email: str, password: str) -> Iterator[_Browser]:
        """Log in as a person does, and yield the session."""
        import httpx

        from al_loop.labelling.client.http import csrf_token

        connection = Connection(url.rstrip("/"), token="")
        with (
            httpx.Client(base_url=connection.url, timeout=60.0, trust_env=not connection.is_local) as http,
            explained(connection.url, "label as a person does"),
        ):
            http.get("/user/login/")
            form = {
                "email": email,
                "password": password,
                "csrfmiddlewaretoken": csrf_token(http.cookies),
            }
            answer = http.post(
                "/user/login/", data=form, headers={"Referer": f"{connection.url}/user/login/"}
            )
            if answer.status_code != 302:
                raise LabelStudioError(f"{connection.url} does not accept the login of {email}")
            yield cls(http, connection.url)

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON at `path`."""
        return self._checked(self._http.get(path, params=params), path).json()

    def page(self, path: str) -> None:
        """Open a page for people."""
        self._checked(self._http.get(path), path)

    def post(self, path: str, body: Json, **params: Any) -> Any:
        """Send JSON to `path` and return the answer."""
        return self._checked(self._send(path, body, params), path).json()

    def open_task(self, project_id: int, task_id: int, model_version: str | None) -> _Sheet:
        """Open a task: its image, and the prediction that the project shows to people."""
        opened = datetime.now(UTC)
        task = self.get(f"/api/tasks/{task_id}/", project=project_id)
        data = task["data"]
        size = self.image_size(task_id, data["image"])
        if size != (data["width"], data["height"]):
            raise LabelStudioError(
                f"task {task_id} shows an image of {size[0]}x{size[1]} pixels, "
                f"expected {data['width']}x{data['height']}"
            )
        visible = [one for one in task.get("predictions") or [] if one.get("model_version") == model_version]
        first = visible[0] if visible else {}
        proposed = list(first.get("result") or [])
        return _Sheet(project_id, data["image_id"], ImageSize(*size), first.get("id"), proposed, opened)

    def next_task(self, project_id: int, queue: Json) -> int | None:
        """Return the id of the next task of a queue, None at its end."""
        body = {"filters": queue["filters"], "ordering": queue["ordering"]}
        answer = self._send("/api/dm/actions", body, {"id": "next_task", "project": project_id})
        if answer.status_code == 404:
            return None
        return int(self._checked(answer, "the next task").json()["id"])

    def image_size(self, task_id: int, url: str) -> tuple[int, int]:
        """Download what a task shows and return its width and height in pixels."""
        from PIL import Image, ImageOps, UnidentifiedImageError

        answer = self._checked(self._http.get(url), f"the image of task {task_id}")
        try:
            with Image.open(io.BytesIO(answer.content)) as image:
                return ImageOps.exif_transpose(image).size
        except (UnidentifiedImageError, OSError) as error:
            raise LabelStudioError(f"task {task_id} shows something that is no image: {error}") from error

    def _send(self, path: str, body: Json, params: Mapping[str, Any]) -> httpx.Response:
        from al_loop.labelling.client.http import csrf_token

        headers = {"X-CSRFToken": csrf_token(self._http.cookies), "Referer": self._url}
        return self._http.post(path, params=dict(params), json=body, headers=headers)

    def _checked(self, answer: httpx.Response, what: str) -> httpx.Response:
        if answer.status_code not in (200, 201):
            raise LabelStudioError(f"{self._url} answered {answer.status_code} for {what}")
        return answer
