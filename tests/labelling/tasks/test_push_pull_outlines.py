"""Polygons and brush strokes on the real server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from support.labelling_tasks import CLASSES as SERVED
from support.labelling_tasks import Running, fetch_tasks, make_tasks, request, send_tasks
from support.outline_regions import TRIANGLE, block, mask2rle, painted, shape

from al_loop.core.config import Drawn
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.task import Edits, PulledTask, TaskState
from al_loop.labelling.tasks.project import ensure_project, read_labels
from al_loop.labelling.tasks.regions import ImageSize
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes

OTHER_SIZE = mask2rle(np.full((100, 100), 255, np.uint8))


@pytest.mark.server
def test_outlines_on_the_real_server(label_studio: Running, tmp_path: Path) -> None:
    connection, size = label_studio.info.connection, ImageSize(320, 180)
    project = ensure_project(connection, "outlines", SERVED, drawn="outlines")
    assert ensure_project(connection, "outlines", SERVED, drawn="outlines") == project
    with pytest.raises(LabelStudioError, match='task = "detection"'):
        ensure_project(connection, "outlines", SERVED, project)
    with connection.open() as api:
        config = api.project(project)["label_config"]
    assert read_labels(config) == {name: list(SERVED) for name in ("polygon", "brush", "label")}
    tasks = make_tasks(tmp_path, 4, batch="c1")
    send_tasks(connection, project, tasks, label_studio.images, drawn="outlines")

    def pulled(drawn: Drawn = "outlines") -> list[PulledTask]:
        return fetch_tasks(connection, project, tasks, drawn=drawn)

    ids = [task.task_id for task in pulled()]

    def submit(number: int, *result: dict[str, Any]) -> None:
        path = f"api/tasks/{ids[number]}/annotations"
        request(label_studio.info, "POST", path, {"result": list(result)}).raise_for_status()

    with connection.open() as api:
        (task,) = [t for t in api.tasks(project, whole=True) if t["id"] == ids[0]]
    (first, second) = task["predictions"][0]["result"]  # the model's rectangles are drawn as ever
    triangle = shape("polygonlabels", {"points": TRIANGLE, "polygonlabels": [SERVED[1]]}, size)
    stroke = painted(block(size), brushlabels=[SERVED[2]])
    submit(0, second, triangle, stroke)
    submit(1, triangle, painted(np.zeros((180, 320))))
    submit(2, first)
    full, refused, plain, pending = pulled()
    assert (full.state, full.edits) == (TaskState.LABELLED, Edits(kept=1, deleted=1, added=2))
    assert full.boxes is not None
    np.testing.assert_allclose(
        full.boxes.xyxy, [[100.5, 20.25, 320, 90.125], [32, 18, 160, 108], [30, 20, 70, 40]], atol=1e-9
    )
    assert full.boxes.labels.tolist() == [1, 1, 2]
    assert full.boxes.outlines is not None
    assert full.boxes.outlines[1] == [[32.0, 18.0, 160.0, 18.0, 160.0, 108.0]]
    np.testing.assert_array_equal(coco.decode(full.boxes.outlines[2]), block(size) > 0)
    assert refused.state is TaskState.REFUSED
    assert "nothing is left" in str(refused.problem)
    assert plain.boxes is not None
    assert plain.boxes.outlines is None
    assert pending.state is TaskState.PENDING
    # The same answers in a workspace for detection.
    assert [task.state for task in pulled(drawn="rectangles")] == [
        TaskState.REFUSED, TaskState.REFUSED, TaskState.LABELLED, TaskState.PENDING,
    ]  # fmt: skip


@pytest.mark.server
def test_outlines_that_are_submitted_unchanged_come_back_to_the_pixel(
    label_studio: Running, tmp_path: Path
) -> None:
    connection, size = label_studio.info.connection, ImageSize(320, 180)
    project = ensure_project(connection, "outlines unchanged", SERVED, drawn="outlines")
    y, x = np.mgrid[: size.height, : size.width]
    disc = np.hypot(x - 80, y - 90) < 60
    ring = (np.hypot(x - 240, y - 90) < 70) & (np.hypot(x - 250, y - 80) > 30)
    triangle = [[1 / 3, 2 / 3, 100.0, 0.0, 320.0, 179.9]]
    boxes = Boxes(
        np.array([[20.0, 30, 140, 150], [170, 20, 310, 160], [0, 0, 320, 180], [5, 5, 30, 40]]),
        np.array([0, 1, 2, 0]),
        np.full(4, 0.9),
        (segmentation.mask(disc), segmentation.mask(ring), triangle, None),
    )
    tasks = [replace(make_tasks(tmp_path, 1, batch="c1")[0], boxes=boxes)]
    send_tasks(connection, project, tasks, label_studio.images, drawn="outlines")
    with connection.open() as api:
        (task,) = api.tasks(project, whole=True)
    (prediction,) = task["predictions"]
    regions = prediction["result"]
    assert [one["type"] for one in regions] == [
        "polygonlabels", "brushlabels", "polygonlabels", "rectanglelabels",
    ]  # fmt: skip
    answer = {"result": regions, "parent_prediction": prediction["id"]}
    request(label_studio.info, "POST", f"api/tasks/{task['id']}/annotations", answer).raise_for_status()

    (pulled,) = fetch_tasks(connection, project, tasks, drawn="outlines")
    assert (pulled.state, pulled.edits) == (TaskState.LABELLED, Edits(kept=4))
    assert (pulled.problem, pulled.note) == (None, None)
    assert pulled.boxes is not None
    assert pulled.boxes.outlines is not None
    about, painted_ring, three, none = pulled.boxes.outlines
    assert none is None
    assert segmentation.mask_iou(about, segmentation.mask(disc)) > 0.99
    for region_, outline in ((regions[0], about), (regions[2], three)):
        percent = 100 * np.reshape(outline, (-1, 2)) / [size.width, size.height]
        np.testing.assert_allclose(percent, region_["value"]["points"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(three, triangle, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(coco.decode(painted_ring), ring)


@pytest.mark.server
def test_each_bad_outline_is_refused_and_the_others_go_on(label_studio: Running, tmp_path: Path) -> None:
    connection, size = label_studio.info.connection, ImageSize(320, 180)
    project = ensure_project(connection, "bad outlines", SERVED, drawn="outlines")
    around = np.linspace(0, 2 * np.pi, 10_000, endpoint=False)
    many = np.stack([50 + 30 * np.cos(around), 50 + 30 * np.sin(around)], axis=1).tolist()
    answers: list[tuple[Any, str | None, str | None]] = [  # points or pixels, problem, note
        ([[10, 10], [50, 10]], "a polygon has 2 points, expected 3 or more", None),
        ([[110, 10], [150, 10], [150, 60]], "a polygon has no area inside the image", None),
        (np.zeros((180, 320)), "nothing is left of a brush region", None),
        (OTHER_SIZE, "not of the image's size, 320x180 pixels", None),
        ([[10, 10], [50, 60], [50, 10], [10, 60]], None, "a polygon crosses itself: kept as a mask"),
        (many, None, None),
        (TRIANGLE, None, None),
    ]
    tasks = make_tasks(tmp_path, len(answers), batch="c1")
    send_tasks(connection, project, tasks, label_studio.images, drawn="outlines")
    ids = [task.task_id for task in fetch_tasks(connection, project, tasks, drawn="outlines")]
    for number, (drawn, _, _) in zip(ids, answers, strict=True):
        if isinstance(drawn, np.ndarray):
            item = painted(drawn, brushlabels=[SERVED[0]])
        elif drawn is OTHER_SIZE:
            item = painted(block(size), rle=drawn, brushlabels=[SERVED[0]])
        else:
            item = shape("polygonlabels", {"points": drawn, "polygonlabels": [SERVED[0]]}, size)
        path = f"api/tasks/{number}/annotations"
        request(label_studio.info, "POST", path, {"result": [item]}).raise_for_status()
    for task, (_, problem, note) in zip(
        fetch_tasks(connection, project, tasks, drawn="outlines"), answers, strict=True
    ):
        assert task.state is (TaskState.REFUSED if problem else TaskState.LABELLED)
        assert (task.problem is None) == (problem is None)
        assert (task.note is None) == (note is None)
        assert (problem or "") in (task.problem or "")
        assert (note or "") in (task.note or "")
        assert str(task.url).endswith(str(task.task_id))
