"""An annotator in a real browser: Chromium, driven by Playwright, at the real server.

Skipped, with a line that says so, where there is no Chromium (scripts/test gets it where it may).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM
from factories import draw
from labelling_fixtures import CLASSES, Running, expected
from PIL import Image

from al_loop import outlines
from al_loop.boxes import Boxes
from al_loop.labelling import server
from al_loop.labelling.project import ensure_project
from al_loop.labelling.pull import pull
from al_loop.labelling.push import push
from al_loop.labelling.serving import LocalFiles
from al_loop.labelling.tasks import Edits, OutgoingTask, PulledTask, TaskState

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: nobody has looked at the labelling page"),
]

SIZE = (640, 400)
POLYGON = [(100.0, 80.0), (260.0, 80.0), (260.0, 170.0)]
DRAWN = [[100.0, 80.0, 160.0, 90.0], [400.0, 200.0, 90.0, 120.0]]  # x, y, w, h px


@pytest.fixture
def page(label_studio: Running) -> Iterator[Any]:
    """A browser in which somebody has logged in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(30_000)
        page.goto(f"{label_studio.info.url}/user/login/")
        page.fill("input[name=email]", label_studio.info.email)
        page.fill("input[name=password]", label_studio.info.password)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "/user/login" not in url)
        yield page
        browser.close()


def tasks(folder: Path, count: int) -> list[OutgoingTask]:
    """Pictures with two bright blocks, and a model that found both."""
    made = []
    for rank in range(count):
        path = folder / f"teil #{rank} 50%.png"
        draw(*SIZE, DRAWN, seed=rank).save(path)
        xyxy = np.array([[x, y, x + w, y + h] for x, y, w, h in DRAWN])
        boxes = Boxes(xyxy, np.array([0, 1]), np.array([0.9, 0.6]))
        made.append(
            OutgoingTask(f"ws/c1/{rank}", f"{rank}" * 64, path, path.name, *SIZE, boxes, 1.0, rank, "unsure")
        )
    return made


#: The picture that is shown, and where it is on the screen: [x, y, width, height] px.
_PICTURE = """() => {
  const image = [...document.images].find(i => i.src.startsWith('blob:') && i.naturalWidth > 0);
  const box = image && image.getBoundingClientRect();
  return box && box.width > 100 ? [box.x, box.y, box.width, box.height, image.naturalWidth] : null;
}"""
_REGIONS = "() => window.Htx?.annotationStore?.selected?.regions?.map(r => [r.x, r.y, r.width, r.height])"

#: The keys of the labels that are chosen now.
_CHOSEN = """() => [...window.Htx.annotationStore.selected.names.values()]
  .flatMap(control => control.children ?? []).filter(label => label.selected).map(label => label.hotkey)"""
_POINTS = "() => window.Htx.annotationStore.selected.regions.find(r => r.type === 'polygonregion')"


class Desk:
    """What a person sees and does, in px of the picture."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def open(self, task: int) -> None:
        """Wait until another task than before is there: its picture has loaded, and its two boxes are drawn."""
        self.page.wait_for_function(f"() => window.Htx?.task && Number(window.Htx.task.id) === {task}")
        self.page.wait_for_function(_PICTURE)
        self.page.wait_for_function(f"() => ({_REGIONS})()?.length === 2")
        close = self.page.query_selector("button[aria-label='Close modal']")
        if close is not None:
            close.click()
        self.page.wait_for_timeout(500)  # the page moves things about until it is still
        self.x, self.y, self.width, self.height, self.natural = self.page.evaluate(_PICTURE)

    def boxes(self) -> np.ndarray:
        """What is drawn, as x, y, w, h."""
        scale = np.array([SIZE[0], SIZE[1], SIZE[0], SIZE[1]]) / 100
        return np.asarray(self.page.evaluate(_REGIONS)) * scale

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._move(*start)
        self.page.mouse.down()
        self._move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self._move(*end)
        self.page.mouse.up()

    def click(self, x: float, y: float) -> None:
        self._move(x, y)
        self.page.mouse.down()
        self.page.mouse.up()

    def choose(self, key: str) -> None:
        """Press the key of a label, and wait until it is chosen and its tool is there."""
        self.page.keyboard.press(key)
        self.page.wait_for_function(f"() => ({_CHOSEN})().join() === '{key}'")
        self.page.wait_for_timeout(500)

    def _move(self, x: float, y: float) -> None:
        self.page.mouse.move(self.x + x * self.width / SIZE[0], self.y + y * self.height / SIZE[1])

    def press(self, name: str) -> None:
        """Press a button that ends a task, and wait until the server has it."""
        with self.page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST"):
            self.page.click(f"button[aria-label='{name}']")


def test_what_people_do_in_the_browser_comes_back(
    label_studio: Running, project: int, page: Any, tmp_path: Path
) -> None:
    some = tasks(tmp_path, 4)
    images = LocalFiles(server.media_root(label_studio.home))
    connection = label_studio.info.connection
    result = push(
        connection, project, "c1", some, model_version="m1", classes=CLASSES, images=images, title="Cycle 1"
    )

    def pulled() -> list[Any]:
        return pull(connection, project, "c1", expected(some), classes=CLASSES)

    ids = [task.task_id or 0 for task in pulled()]
    desk = Desk(page)
    page.goto(result.queue_url)

    # The first in the queue: the picture has loaded, and the boxes are where the model put them.
    desk.open(ids[0])
    assert desk.natural == SIZE[0]
    np.testing.assert_allclose(desk.boxes(), DRAWN, atol=1e-6)
    page.screenshot(path=str(tmp_path / "opened.png"))
    assert _green_and_red(tmp_path / "opened.png", desk)
    desk.click(180, 125)
    desk.drag((180, 125), (220, 145))
    moved = desk.boxes()
    np.testing.assert_allclose(moved[0], [140, 100, 160, 90], atol=2)
    desk.press("Submit current annotation")

    # Something was missed: its class, and a box around it.
    desk.open(ids[1])
    page.keyboard.press("3")
    desk.drag((20, 300), (120, 380))
    page.wait_for_function(f"() => ({_REGIONS})().length === 3")
    added = desk.boxes()[2]
    np.testing.assert_allclose(added, [20, 300, 100, 80], atol=2)
    page.screenshot(path=str(tmp_path / "added.png"))
    desk.press("Submit current annotation")

    # Nothing is there after all.
    desk.open(ids[2])
    for x, y, w, h in DRAWN:
        desk.click(x + w / 2, y + h / 2)
        page.keyboard.press("Backspace")
    page.wait_for_function(f"() => ({_REGIONS})().length === 0")
    desk.press("Submit current annotation")

    # And this one cannot be judged.
    desk.open(ids[3])
    desk.press("skip-task")

    found = pulled()
    states = [task.state for task in found]
    assert states == [TaskState.LABELLED, TaskState.LABELLED, TaskState.EMPTY, TaskState.SKIPPED]
    for task, shown in ((found[0], moved), (found[1], np.vstack([DRAWN, added]))):
        corners = np.column_stack([shown[:, :2], shown[:, :2] + shown[:, 2:]])
        np.testing.assert_allclose(task.boxes.xyxy, corners, atol=1e-6)
    assert found[1].boxes.labels.tolist() == [0, 1, 2]
    assert [task.edits for task in found[:3]] == [
        Edits(kept=1, moved=1),
        Edits(kept=2, added=1),
        Edits(deleted=2),
    ]
    assert all(task.lead_time_s for task in found[:3])


def _green_and_red(shot: Path, desk: Desk) -> bool:
    """Whether the frames of both boxes can be seen where they should be: other colours than the picture's own."""
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)

    def near(x: float, y: float) -> np.ndarray:
        column, row = round(desk.x + x * desk.width / SIZE[0]), round(desk.y + y * desk.height / SIZE[1])
        return pixels[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3)

    # Red is the first class and green the second; the picture is grey with yellow blocks.
    first, second = near(100, 125), near(400, 260)
    return bool((first[:, 0] - first[:, 1]).max() > 80 and (second[:, 1] - second[:, 0]).max() > 40)


def test_outlines_drawn_in_the_browser_come_back(label_studio: Running, page: Any, tmp_path: Path) -> None:
    connection = label_studio.info.connection
    project = ensure_project(connection, "outlines in the browser", CLASSES, outlined=True)
    some = tasks(tmp_path, 1)
    images = LocalFiles(server.media_root(label_studio.home))
    result = push(
        connection, project, "c1", some,
        model_version="m1", classes=CLASSES, images=images, outlined=True,
    )  # fmt: skip

    def pulled() -> PulledTask:
        (task,) = pull(connection, project, "c1", expected(some), classes=CLASSES, outlined=True)
        return task

    desk = Desk(page)
    page.goto(result.queue_url)
    desk.open(pulled().task_id or 0)
    np.testing.assert_allclose(desk.boxes(), DRAWN, atol=1e-6)  # the model's, as ever
    page.screenshot(path=str(tmp_path / "outlines.png"))
    # The first box becomes a polygon of three corners, closed by a click on the first.
    desk.click(180, 125)
    page.keyboard.press("Backspace")
    page.wait_for_function(f"() => ({_REGIONS})().length === 1")
    desk.choose("1")
    for number, corner in enumerate(POLYGON, start=1):
        desk.click(*corner)
        page.wait_for_function(f"() => ({_POINTS})()?.points.length === {number}")
        page.wait_for_timeout(300)  # two clicks at once are something else
    desk.click(*POLYGON[0])
    page.wait_for_function(f"() => ({_POINTS})().closed")
    page.keyboard.press("Escape")
    # The second class of the brush: one stroke.
    desk.choose("5")
    desk.drag((40, 280), (140, 280))
    page.wait_for_function(f"() => ({_REGIONS})().length === 3")
    desk.press("Submit current annotation")

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
    assert outlines.area(painted) == pytest.approx((x2 - x1) * (y2 - y1), rel=0.1)  # a bar with round ends
