"""An annotator in a real browser: Chromium, driven by Playwright, at the real server.

Skipped, with a line that says so, where there is no Chromium (scripts/test gets it where it may).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from support.annotation_page import AnnotationPage, chromium, corners, needs_chromium
from support.factories import draw
from support.labelling_tasks import BLOCKS, CLASSES, SIZE, Running, block_tasks, fetch_tasks, send_tasks
from support.pool_images import add_images

from al_loop.images import repository
from al_loop.labelling.client.image_serving import Upload
from al_loop.labelling.client.task import Edits, OutgoingTask, PulledTask, TaskState
from al_loop.labelling.tasks.project import ensure_project
from al_loop.state.workspace import Workspace
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes

pytestmark = [pytest.mark.server, needs_chromium]

POLYGON = [(100.0, 80.0), (260.0, 80.0), (260.0, 170.0)]


@pytest.fixture(scope="module")
def login(label_studio: Running) -> Iterator[AnnotationPage]:
    """A browser in which somebody has logged in."""
    info = label_studio.info
    with chromium() as browser:
        yield AnnotationPage.log_in(browser, info.url, info.email, info.password)


@pytest.fixture
def annotator(login: AnnotationPage) -> Iterator[AnnotationPage]:
    with login.fresh() as made:
        yield made


def test_what_people_do_in_the_browser_comes_back(
    label_studio: Running, project: int, annotator: AnnotationPage, tmp_path: Path
) -> None:
    some = block_tasks(tmp_path, 4)
    connection = label_studio.info.connection
    result = send_tasks(connection, project, some, label_studio.images)

    def pulled() -> list[Any]:
        return fetch_tasks(connection, project, some)

    ids = [task.task_id or 0 for task in pulled()]
    annotator.page.goto(result.queue_url)

    # The first in the queue: the picture has loaded, and the boxes are where the model put them.
    annotator.open(ids[0], boxes=2)
    assert annotator.size == SIZE
    np.testing.assert_allclose(annotator.boxes(), BLOCKS, atol=1e-6)
    assert _red_and_green(annotator, annotator.screenshot(tmp_path / "opened.png"))
    annotator.click(180, 125)
    annotator.drag((180, 125), (220, 145))
    moved = annotator.boxes()
    np.testing.assert_allclose(moved[0], [140, 100, 160, 90], atol=2)
    annotator.submit()

    # Something was missed: its class, and a box around it.
    annotator.open(ids[1], boxes=2)
    annotator.page.keyboard.press("3")
    annotator.drag((20, 300), (120, 380))
    annotator.wait_for(boxes=3)
    added = annotator.boxes()[2]
    np.testing.assert_allclose(added, [20, 300, 100, 80], atol=2)
    annotator.screenshot(tmp_path / "added.png")
    annotator.submit()

    # Nothing is there after all.
    annotator.open(ids[2], boxes=2)
    for x, y, w, h in BLOCKS:
        annotator.click(x + w / 2, y + h / 2)
        annotator.page.keyboard.press("Backspace")
    annotator.wait_for(boxes=0)
    annotator.submit()

    # And this one cannot be judged.
    annotator.open(ids[3], boxes=2)
    annotator.skip()

    found = pulled()
    states = [task.state for task in found]
    assert states == [TaskState.LABELLED, TaskState.LABELLED, TaskState.EMPTY, TaskState.SKIPPED]
    for task, shown in ((found[0], moved), (found[1], np.vstack([BLOCKS, added]))):
        np.testing.assert_allclose(task.boxes.xyxy, corners(shown), atol=1e-6)
    assert found[1].boxes.labels.tolist() == [0, 1, 2]
    assert [task.edits for task in found[:3]] == [
        Edits(kept=1, moved=1),
        Edits(kept=2, added=1),
        Edits(deleted=2),
    ]
    assert all(task.lead_time_s for task in found[:3])


@pytest.mark.parametrize("size", [SIZE, (520, 640)], ids=["wide", "high"])
def test_the_whole_picture_is_seen(
    label_studio: Running, project: int, annotator: AnnotationPage, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Label Studio alone would hide the sides of a small wide picture, and the lower end of a high one."""
    connection = label_studio.info.connection
    some = block_tasks(tmp_path, 1, size)
    queue = send_tasks(connection, project, some, label_studio.images).queue_url
    (task,) = fetch_tasks(connection, project, some)
    for width, height in ((1400, 900), (1280, 720)):
        annotator.page.set_viewport_size({"width": width, "height": height})
        annotator.page.goto(queue)
        annotator.open(task.task_id or 0, boxes=2)
        annotator.screenshot(tmp_path / f"{width}.png")
        assert annotator.corners_seen() == [True] * 4
        assert annotator.height > 0.6 * height  # as large as there is room


@pytest.mark.parametrize("way", ["local-files", "upload"])
def test_a_photograph_that_was_taken_upright(
    label_studio: Running,
    project: int,
    annotator: AnnotationPage,
    workspace: Workspace,
    tmp_path: Path,
    way: str,
) -> None:
    """A phone stores its sensor's rows and a note to turn them: 400x300 px that people see as 300x400."""
    phone = Image.Exif()
    phone[0x0112] = 6  # turn by 90 degrees clockwise
    draw(400, 300, [[40, 30, 100, 60]]).save(tmp_path / "phone.jpg", exif=phone, quality=95)
    add_images(workspace, [tmp_path / "phone.jpg"])
    (photo,) = repository.unlabelled(workspace)
    # (x, y) of the sensor is at (300 - y, x).
    part = [210.0, 40.0, 60.0, 100.0]
    boxes = Boxes(np.array([[210.0, 40.0, 270.0, 140.0]]), np.array([0]), np.array([0.9]))
    some = [
        OutgoingTask(
            "ws/c1/0", photo.id, photo.path, "phone.jpg", photo.width, photo.height, boxes, 1.0, 0, "unsure"
        )
    ]
    connection = label_studio.info.connection
    images = label_studio.images if way == "local-files" else Upload()
    queue = send_tasks(connection, project, some, images).queue_url
    (task,) = fetch_tasks(connection, project, some)

    annotator.page.goto(queue)
    annotator.open(task.task_id or 0, boxes=1)
    assert annotator.size == (photo.width, photo.height) == (300, 400)
    assert annotator.width / annotator.height == pytest.approx(300 / 400, rel=0.01)
    np.testing.assert_allclose(annotator.boxes(), [part], atol=1e-6)
    seen = annotator.screenshot(tmp_path / "upright.png")
    for x, y in ((210, 90), (270, 90), (240, 40), (240, 140)):  # a red frame on each side of the part
        edge = annotator.near(seen, x, y)
        assert (edge[:, 0] - edge[:, 1]).max() > 100
    for x, y in ((200, 90), (280, 90), (240, 30), (240, 150)):  # which is inside of it, and nowhere else
        assert annotator.near(seen, x, y).max() < 130
    assert annotator.near(seen, 240, 90)[:, :2].min() > 130

    annotator.click(240, 90)
    annotator.drag((240, 90), (210, 140))
    moved = annotator.boxes()
    np.testing.assert_allclose(moved, [[180, 90, 60, 100]], atol=2)
    annotator.submit()
    (task,) = fetch_tasks(connection, project, some)
    assert task.boxes is not None
    np.testing.assert_allclose(task.boxes.xyxy, corners(moved), atol=1e-6)


def _red_and_green(annotator: AnnotationPage, seen: np.ndarray) -> bool:
    """Whether the frames of both boxes are visible, by colours that the image does not have."""
    # Red is the first class and green the second; the picture is grey with yellow blocks.
    first, second = annotator.near(seen, 100, 125), annotator.near(seen, 400, 260)
    return bool((first[:, 0] - first[:, 1]).max() > 80 and (second[:, 1] - second[:, 0]).max() > 40)


def test_outlines_drawn_in_the_browser_come_back(
    label_studio: Running, annotator: AnnotationPage, tmp_path: Path
) -> None:
    connection = label_studio.info.connection
    project = ensure_project(connection, "outlines in the browser", CLASSES, drawn="outlines")
    some = block_tasks(tmp_path, 1)
    result = send_tasks(connection, project, some, label_studio.images, drawn="outlines")

    def pulled() -> PulledTask:
        (task,) = fetch_tasks(connection, project, some, drawn="outlines")
        return task

    annotator.page.goto(result.queue_url)
    annotator.open(pulled().task_id or 0, boxes=2)
    np.testing.assert_allclose(annotator.boxes(), BLOCKS, atol=1e-6)  # the model's, as ever
    assert annotator.corners_seen() == [True] * 4
    # The first box becomes a polygon of three corners, closed by a click on the first.
    annotator.click(180, 125)
    annotator.page.keyboard.press("Backspace")
    annotator.wait_for(boxes=1)
    annotator.choose("1")
    for number, corner in enumerate(POLYGON, start=1):
        annotator.click_until(*corner, f"polygon?.points.length === {number}")
    annotator.click_until(*POLYGON[0], "polygon.closed")
    annotator.page.keyboard.press("Escape")
    # The second class of the brush: one stroke.
    annotator.choose("5")
    annotator.drag((40, 280), (140, 280))
    annotator.wait_for(boxes=3)
    annotator.screenshot(tmp_path / "outlines.png")
    annotator.submit()

    task = pulled()
    assert task.state is TaskState.LABELLED
    assert task.edits == Edits(kept=1, deleted=1, added=2)
    assert task.boxes is not None
    assert task.boxes.labels.tolist() == [1, 0, 1]
    assert task.boxes.outlines is not None
    box, polygon, painted = task.boxes.outlines
    assert box is None
    assert isinstance(polygon, list)
    np.testing.assert_allclose(np.array(polygon).reshape(-1, 2), POLYGON, atol=2)
    assert isinstance(painted, dict)
    assert painted["size"] == [SIZE[1], SIZE[0]]
    x1, y1, x2, y2 = task.boxes.xyxy[2]
    assert x1 < 40
    assert x2 > 140
    assert (y1 + y2) / 2 == pytest.approx(280, abs=2)
    # A bar with round ends.
    assert segmentation.area(painted) == pytest.approx((x2 - x1) * (y2 - y1), rel=0.1)


def test_a_box_by_its_extreme_points(
    label_studio: Running, annotator: AnnotationPage, tmp_path: Path
) -> None:
    connection = label_studio.info.connection
    project = ensure_project(connection, "extreme points", CLASSES, drawn="extreme-points")
    some = block_tasks(tmp_path, 1)
    queue = send_tasks(connection, project, some, label_studio.images, drawn="extreme-points").queue_url
    annotator.page.goto(queue)
    annotator.open(fetch_tasks(connection, project, some)[0].task_id or 0, boxes=2)
    annotator.click(180, 125)
    annotator.page.keyboard.press("Backspace")
    annotator.wait_for(boxes=1)
    annotator.choose("2")
    points = [(180.0, 80.0), (100.0, 130.0), (170.0, 170.0), (260.0, 120.0)]
    for number, point in enumerate(points, start=1):
        annotator.click_until(*point, f"polygon?.points.length === {number}")
    annotator.click_until(*points[0], "polygon.closed")
    annotator.page.keyboard.press("Escape")
    annotator.screenshot(tmp_path / "points.png")
    annotator.submit()
    (task,) = fetch_tasks(connection, project, some, drawn="extreme-points")
    assert task.boxes is not None
    assert task.boxes.outlines is None
    assert task.boxes.labels.tolist() == [1, 1]
    np.testing.assert_allclose(task.boxes.xyxy[1], [100, 80, 260, 170], atol=2)
    assert task.edits == Edits(kept=1, deleted=1, added=1)


def test_outlines_of_the_model_are_edited_in_the_browser(
    label_studio: Running, annotator: AnnotationPage, tmp_path: Path
) -> None:
    """A polygon is moved, a hole is cut into a mask, strokes are added: what the page holds comes back.

    On the second image nothing is changed.
    """
    connection = label_studio.info.connection
    project = ensure_project(connection, "outlines of the model", CLASSES, drawn="outlines")
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    disc = np.hypot((x - 180) / 80, (y - 125) / 45) < 1
    ring = (np.hypot((x - 445) / 45, (y - 260) / 60) < 1) & (np.hypot((x - 445) / 15, (y - 260) / 20) > 1)
    corners_px = np.array([[100.0, 80, 260, 170], [400, 200, 490, 320], [20, 300, 120, 380]])
    outlines = (segmentation.mask(disc), segmentation.mask(ring), None)
    boxes = Boxes(corners_px, np.array([0, 1, 2]), np.array([0.9, 0.8, 0.7]), outlines)
    some = [replace(task, boxes=boxes) for task in block_tasks(tmp_path, 2)]
    result = send_tasks(connection, project, some, label_studio.images, drawn="outlines")

    def pulled(number: int) -> PulledTask:
        return fetch_tasks(connection, project, some, drawn="outlines")[number]

    annotator.page.goto(result.queue_url)
    annotator.open(pulled(0).task_id or 0, boxes=3)
    assert annotator.corners_seen() == [True] * 4
    polygon, painted, _ = annotator.regions()
    assert len(polygon["value"]["points"]) <= 40
    before = annotator.painted(painted)
    np.testing.assert_array_equal(before, ring)
    # The polygon is moved by its inside.
    annotator.click(180, 125)
    annotator.drag((180, 125), (220, 145))
    offset = (np.array(annotator.regions()[0]["value"]["points"]) - polygon["value"]["points"]) * SIZE / 100
    np.testing.assert_allclose(offset, np.broadcast_to([40, 20], offset.shape), atol=1)
    annotator.page.keyboard.press("Escape")
    # A hole in the mask.
    annotator.click(415, 260)
    annotator.tool("e", "eraser")
    annotator.drag((445, 216), (446, 216))
    holed = annotator.painted(annotator.regions()[1])
    cut = before & ~holed
    assert not (holed & ~before).any()
    assert cut[216, 445]
    assert np.hypot(*(np.argwhere(cut) - (216, 445)).T).max() < 8
    # A stroke that extends the same mask, and one that is another object.
    annotator.tool("b", "brush-tool")
    annotator.drag((480, 210), (560, 210))
    annotator.page.keyboard.press("Escape")
    annotator.choose("4")
    annotator.drag((500, 60), (580, 100))
    annotator.wait_for(boxes=4)
    shown = annotator.regions()
    extended, added = annotator.painted(shown[1]), annotator.painted(shown[3])
    np.testing.assert_array_equal(extended & (x < 470), holed & (x < 470))
    assert extended[210, 480:560].all()
    assert not extended[216, 445]
    line = np.abs((x - 500) - 2 * (y - 60)) / np.hypot(1, 2)
    assert added[(line < 3) & (x > 500) & (x < 580)].all()
    assert not added[line > 8].any()
    seen = annotator.screenshot(tmp_path / "edited.png")
    assert _is_green(annotator.near(seen, 530, 210))
    assert not _is_green(annotator.near(seen, 445, 216)[24:25])
    annotator.submit()
    annotator.open(pulled(1).task_id or 0, boxes=3)
    annotator.submit()

    task = pulled(0)
    assert task.edits == Edits(kept=1, moved=1, resized=1, added=1)
    assert task.boxes is not None
    assert task.boxes.labels.tolist() == [0, 1, 2, 0]
    assert task.boxes.outlines is not None
    points = np.array(shown[0]["value"]["points"]) * SIZE / 100
    np.testing.assert_allclose(np.reshape(task.boxes.outlines[0], (-1, 2)), points, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(coco.decode(task.boxes.outlines[1]), extended)
    assert task.boxes.outlines[2] is None
    np.testing.assert_array_equal(coco.decode(task.boxes.outlines[3]), added)
    same = pulled(1)
    assert same.edits == Edits(kept=3)
    assert same.boxes is not None
    assert same.boxes.outlines is not None
    points = np.array(polygon["value"]["points"]) * SIZE / 100
    np.testing.assert_allclose(np.reshape(same.boxes.outlines[0], (-1, 2)), points, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(coco.decode(same.boxes.outlines[1]), ring)


def _is_green(pixels: np.ndarray) -> bool:
    """Whether pixels (n, 3) have the colour of the second class."""
    return bool((pixels[:, 1] - pixels[:, ::2].max(axis=1)).min() > 30)
