"""A whole cycle whose labels are all drawn by hand in Chromium, and what it leaves behind.

By itself: pytest tests/e2e/test_labelled_in_a_browser.py
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from support.annotation_page import AnnotationPage, chromium, corners, needs_chromium
from support.command import al_loop
from support.factories import CLASSES, write_coco_set

from al_loop.images import repository
from al_loop.labelling.client.task import Edits
from al_loop.labelling.server.server import ServerInfo, media_root, running_server, stop
from al_loop.state.model_registry import current_model
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.boxes import iou

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.train, pytest.mark.slow, needs_chromium]

SIZE = (96, 64)
SETTINGS = """
name = "line 3"
classes = ["bolt", "nut"]
[model]
config = "small"
image_size = [96, 64]
[pretrain]
steps = 72
batch_size = 8
lr = 2e-3
[train]
epochs = 1
batch_size = 2
lr = 1e-4
[cycle]
strategy = "most-boxes"
[promotion]
tolerance = 1.0
[label_studio]
min_score = 0.6
"""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where every process puts its temporary files; a short path, for Chromium has a socket there."""
    with TemporaryDirectory(prefix="al-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def workspace(tmp_path: Path, temporary: Path) -> Iterator[Workspace]:
    """A workspace with photographs and a model that sees something; its server is stopped at the end."""
    root = tmp_path / "line 3"
    al_loop(root, "init", root, "--classes", ",".join(CLASSES))
    (root / "al-loop.toml").write_text(SETTINGS)
    al_loop(root, "pool", "add", write_coco_set(tmp_path / "pool", 8, seed=1).parent / "images")
    al_loop(root, "pool", "add-val", write_coco_set(tmp_path / "val", 4, seed=2))
    opened = open_workspace(root)
    drawn = write_coco_set(opened.synthetic / "blocks", 24, seed=3)
    drawn.rename(drawn.with_name("annotations.json"))
    opened.store.execute("INSERT INTO datasets VALUES ('blocks', 'drawn', 24, 'now')")
    yield opened
    stop(opened.server_home)
    opened.store.close()


class Processes:
    """The command lines of all processes that ran for a while."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stopped = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    self.seen.add((process / "cmdline").read_bytes())
                except OSError:  # it has ended
                    continue


class Shift:
    """One person's shift: the tasks of a queue, and what was drawn on each, by image."""

    def __init__(self, annotator: AnnotationPage, info: ServerInfo, project: int, folder: Path) -> None:
        self.annotator, self.folder = annotator, folder
        with info.connection.open() as api:
            there = api.tasks(project, whole=True)
        self.tasks = sorted(there, key=lambda task: task["data"]["al_rank"])
        self.drawn: dict[str, tuple[np.ndarray, list[str]]] = {}

    def open(self, number: int, boxes: int | None = None) -> None:
        """Wait for a task of the queue, with the model's boxes unless another number is given."""
        task = self.tasks[number]
        shown = len(task["predictions"][0]["result"]) if boxes is None else boxes
        self.annotator.open(task["id"], boxes=shown)
        assert self.annotator.size == SIZE

    def note(self, number: int) -> None:
        """Note what can be seen as what is meant, just before it is submitted."""
        image = self.tasks[number]["data"]["image_id"]
        self.drawn[image] = (corners(self.annotator.boxes()), self.annotator.classes())
        self.annotator.screenshot(self.folder / f"task-{number}.png")

    def pull_aside(self, by: tuple[float, float], row: int | None = None) -> int:
        """Drag the box of `row`, or any, towards the middle by a point that no other box covers.

        Returns its row.
        """
        before = self.annotator.boxes()
        row, x, y = free_point(before, range(len(before)) if row is None else [row])
        middle = before[row, :2] + before[row, 2:] / 2
        offset = np.where(middle < np.divide(SIZE, 2), by, np.negative(by))  # a box cannot leave the image
        self.annotator.click(x, y)
        self.annotator.drag((x, y), (x + offset[0], y + offset[1]))
        after = self.annotator.boxes()
        np.testing.assert_allclose(after[row, :2] - before[row, :2], offset, atol=0.3)
        np.testing.assert_allclose(np.delete(after, row, axis=0), np.delete(before, row, axis=0))
        return row

    def draw(self, key: str, width: float, height: float) -> None:
        """Draw a box where there is none, take it back, and draw it again."""
        x, y = free_place(self.annotator.boxes(), width, height)
        there = len(self.annotator.boxes())

        def once() -> None:
            self.annotator.page.keyboard.press(key)
            self.annotator.drag((x, y), (x + width, y + height))
            self.annotator.wait_for(boxes=there + 1)

        once()
        self.annotator.page.keyboard.press("Control+z")
        self.annotator.wait_for(boxes=there)
        once()
        np.testing.assert_allclose(self.annotator.boxes()[-1], [x, y, width, height], atol=0.3)

    def delete_all(self) -> None:
        for left in range(len(self.annotator.boxes()) - 1, -1, -1):
            x, y, width, height = self.annotator.boxes()[0]
            self.annotator.click(x + width / 2, y + height / 2)
            self.annotator.page.keyboard.press("Backspace")
            self.annotator.wait_for(boxes=left)


def free_point(boxes: np.ndarray, rows: Iterable[int]) -> tuple[int, float, float]:
    """Return row, x and y of the first box (x, y, w, h) with a point well inside it and in no other."""
    for row in rows:
        x, y, width, height = boxes[row]
        for share in (0.5, 0.3, 0.7):
            point = np.array([x + share * width, y + share * height])
            inside = ((boxes[:, :2] < point) & (point < boxes[:, :2] + boxes[:, 2:])).all(axis=1)
            if inside.sum() == 1:
                return row, *point
    raise AssertionError(f"every box is covered by others: {boxes}")


def free_place(boxes: np.ndarray, width: float, height: float) -> tuple[float, float]:
    """Return the upper left corner of a place that touches no box."""
    for x in np.arange(2, SIZE[0] - width, 2):
        for y in np.arange(2, SIZE[1] - height, 2):
            if not len(boxes) or not iou(corners(np.array([[x, y, width, height]])), corners(boxes)).any():
                return float(x), float(y)
    raise AssertionError(f"no room between {boxes}")


def test_a_cycle_that_is_labelled_in_a_browser(workspace: Workspace, temporary: Path, tmp_path: Path) -> None:
    root, said, processes = workspace.root, [], Processes()

    def run(*args: object) -> str:
        said.append(al_loop(root, *args))
        return said[-1]

    with processes.watched():
        run("pretrain")
        al_loop(root, "label-studio", "start")  # prints the password, for a person to read
        info = running_server(workspace.server_home)
        first = run("cycle", "--k", 4)
        queue = re.search(r"Label the rest: (\S+)", first)
        assert queue is not None
        pushed = json.loads((workspace.cycle_dir(1) / "push" / "stage.json").read_text())["output"]
        asked: list[str] = []
        with chromium() as browser:
            annotator = AnnotationPage.log_in(browser, info.url, info.email, info.password)
            annotator.page.on("request", lambda request: asked.append(request.url))
            shift = Shift(annotator, info, pushed["project_id"], tmp_path)
            annotator.page.goto(queue[1])
            label(shift, run)
        last = run("cycle")
        run("report")
    assert "pull: 1 empty, 2 labelled, 1 skipped" in last
    assert "cycle 1 is finished" in last
    check_labels(workspace, shift)
    check_images(workspace, info, pushed["project_id"], asked)
    check_secrets(workspace, [tmp_path, temporary], info, "".join(said), processes)


def label(shift: Shift, run: Any) -> None:
    """Label four images: one box corrected twice, one box added, one image empty, one skipped."""
    annotator = shift.annotator
    shift.open(0)
    moved = shift.pull_aside(by=(4, 3))
    annotator.submit()
    shift.open(1)
    annotator.page.click("button[aria-label='Previous task']")
    shift.open(0)
    shift.pull_aside(by=(2, 1), row=moved)
    shift.note(0)
    annotator.press("submit", "PATCH")
    annotator.page.click("button[aria-label='Next task']")
    shift.open(1)
    shift.draw("2", 12, 10)
    shift.note(1)
    annotator.submit()
    assert "cycle 1 waits: 2 of 4 labelled" in run("cycle")
    shift.open(2)
    shift.delete_all()
    shift.note(2)
    annotator.submit()
    shift.open(3)
    annotator.skip()
    annotator.page.wait_for_selector("text=No More Tasks Left in Queue")
    annotator.page.screenshot(path=str(shift.folder / "done.png"))


def check_labels(workspace: Workspace, shift: Shift) -> None:
    """What the database, the snapshot and the manifest hold is what was drawn, to the pixel's fraction."""
    labelled = {item.image.id: item.boxes for item in repository.labelled(workspace)}
    assert set(labelled) == set(shift.drawn)
    snapshot = json.loads((workspace.cycle_dir(1) / "pull" / "labels.json").read_text())
    assert snapshot == repository.snapshot(repository.labelled(workspace))
    for image, (xyxy, classes) in shift.drawn.items():
        np.testing.assert_allclose(labelled[image].xyxy, xyxy, atol=1e-6)
        assert [CLASSES[label] for label in labelled[image].labels] == classes
    manifest = json.loads((workspace.cycle_dir(1) / "manifest.json").read_text())
    edits = Edits(**manifest["labels"]["edits"])
    proposed = [len(task["predictions"][0]["result"]) for task in shift.tasks]
    assert (edits.moved, edits.added, edits.deleted) == (1, 1, proposed[2])
    assert edits.kept == proposed[0] - 1 + proposed[1]
    assert manifest["outcome"] == "promoted"
    assert current_model(workspace).id == "cycle-1"
    assert len(repository.unlabelled(workspace)) == 4  # the skipped one does not come back


def check_images(workspace: Workspace, info: ServerInfo, project: int, asked: list[str]) -> None:
    """The browser asked nobody else for anything, and for pictures only from the project's own folder."""
    assert {url.split("/")[2] for url in asked if not url.startswith(("blob:", "data:"))} == {
        info.url.split("/")[2]
    }
    shown = {url for url in asked if "/data/" in url and "/projects/" not in url}
    folder = media_root(workspace.server_home) / f"project-{project}"
    assert shown == {
        f"{info.url}/data/local-files/?d=project-{project}/{path.name}" for path in folder.iterdir()
    }
    stored = {path.read_bytes() for path in (workspace.root / "images").rglob("*") if path.is_file()}
    assert all(path.read_bytes() in stored and not path.is_symlink() for path in folder.iterdir())


def check_secrets(
    workspace: Workspace, folders: list[Path], info: ServerInfo, said: str, processes: Processes
) -> None:
    """Token and password are in the credentials and in the server's own data, and nowhere else."""
    secrets = [info.token.encode(), info.password.encode()]
    own = workspace.server_home
    assert (own / "credentials.json").stat().st_mode & 0o077 == 0
    looked = 0
    for path in (path for folder in folders for path in folder.rglob("*")):  # with the screenshots
        if path.is_file() and path != own / "credentials.json" and not path.is_relative_to(own / "data"):
            looked += 1
            assert not any(secret in path.read_bytes() for secret in secrets), path
    assert looked > 40
    assert not any(secret in said.encode() for secret in secrets)
    assert any(b"label-studio" in line for line in processes.seen)
    assert any(b"al_loop" in line for line in processes.seen)
    assert not any(secret in line for secret in secrets for line in processes.seen)
