"""Labels after the end of their cycle: found by the next pull, and withdrawn with their annotation."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from support.failing_proxy import proxied
from support.labelling_tasks import Running, push_cycle, request

from al_loop.core.errors import LabelStudioError
from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.labelling.backend import server_name
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import Edits, PulledTask
from al_loop.labelling.tasks.push import batch_filter
from al_loop.loop.recovery import restart_labelling
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.predictions import ScoredImages
from al_loop.structures.segmentation import area, mask

pytestmark = pytest.mark.server


class Line:
    """A workspace at the real server, with cycles of two picks each."""

    def __init__(
        self, workspace: Workspace, running: Running, url: str | None = None, name: str | None = None
    ) -> None:
        settings = structs.replace(workspace.config.label_studio, url=url or running.info.url)
        name = name or workspace.root.parent.name[-40:]
        config = structs.replace(workspace.config, name=name, label_studio=settings)
        self.workspace, self.running = Workspace(workspace.root, config, workspace.store), running
        self.project = 0

    def push(self, cycle: int) -> list[str]:
        self.project, images = push_cycle(self.workspace, cycle)
        return images

    def pull(self, cycle: int) -> sync.PullResult:
        return sync.pull_labels(self.workspace, cycle, server_name(self.workspace), self.project)

    def finish(self, cycle: int) -> None:
        self.workspace.store.execute("UPDATE cycles SET outcome = 'kept' WHERE number = ?", cycle)

    def task(self, cycle: int, image: str) -> Json:
        with self.running.info.connection.open() as api:
            there = api.tasks(self.project, batch_filter(sync.batch_name(self.workspace, cycle)), whole=True)
        (found,) = [t for t in there if t["data"]["image_id"] == image]
        return found

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = request(self.running.info, method, f"api/{path}", body).raise_for_status()
        return dict(answer.json()) if answer.content else {}

    def submit(self, cycle: int, image: str, x: float = 10.0) -> int:
        value = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["bolt"]}
        region = {
            "id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
            "image_rotation": 0, "original_width": 96, "original_height": 64, "value": value,
        }  # fmt: skip
        return int(
            self.request("POST", f"tasks/{self.task(cycle, image)['id']}/annotations/", {"result": [region]})[
                "id"
            ]
        )

    def labels(self) -> dict[str, list[list[float]]]:
        return {item.image.id: item.boxes.xyxy.tolist() for item in repository.labelled(self.workspace)}


@pytest.fixture
def line(filled: Workspace, label_studio: Running, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    return Line(filled, label_studio)


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_servers_clock_is_not_ours(
    filled: Workspace, label_studio: Running, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """All times to and from the server are an hour off."""
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    with proxied(label_studio.info.url) as proxy:
        proxy.skew = timedelta(hours=hours)
        line = Line(filled, label_studio, proxy.url)
        late_labels_are_found(line)
        (mark,) = line.workspace.store.rows("SELECT value FROM facts WHERE key LIKE 'label_studio_pulled%'")
        ahead = datetime.fromisoformat(mark["value"]) - datetime.now(UTC)
        assert abs(ahead - proxy.skew) < timedelta(minutes=5)


def test_labels_that_come_after_their_cycle_are_not_lost(line: Line) -> None:
    late_labels_are_found(line)


def late_labels_are_found(line: Line) -> None:
    """Labels, corrections and withdrawals after the cycle's end are found, each once."""
    first = line.push(1)
    changed = line.submit(1, first[0])
    assert line.pull(1).counts == {"labelled": 1, "pending": 1}
    line.finish(1)  # as `al-loop cycle --partial` does
    assert set(line.labels()) == {first[0]}

    second = line.push(2)
    assert line.pull(2).late == 0
    line.submit(1, first[1])  # somebody went on with the old queue
    correction = {"result": [_moved(line, first[0])]}
    line.request("PATCH", f"annotations/{changed}/", correction)
    pulled = line.pull(2)
    assert pulled.late == 2
    assert pulled.counts == {"pending": 2}
    assert line.labels()[first[0]][0][0] == pytest.approx(0.5 * 96)
    assert set(line.labels()) == set(first)
    assert line.pull(2).late == 0  # a known change is not reported again

    line.request("DELETE", f"annotations/{changed}/")  # taken back
    assert line.pull(2).late == 1
    assert set(line.labels()) == {first[1]}
    line.submit(2, second[0])
    line.pull(2)
    assert set(line.labels()) == {first[1], second[0]}


def test_what_is_sent_back_is_pulled_only_if_people_change_it(line: Line) -> None:
    """A label that was replaced here in the meantime stays."""
    first = line.push(1)
    submitted = [line.submit(1, image) for image in first]
    line.pull(1)
    server, reasons = server_name(line.workspace), {first[0]: "Please check: no box at the top left"}
    done = sync.send_back(line.workspace, 1, server, line.project, reasons)
    assert done.tasks == 1
    assert line.task(1, first[0])["data"]["reason"] == reasons[first[0]]
    keys = [row["task_key"] for row in line.workspace.store.rows("SELECT task_key FROM picks ORDER BY rank")]
    assert sync.pages_of(line.workspace, keys)[keys[0]].endswith(f"?task={line.task(1, first[0])['id']}")
    line.finish(1)
    line.workspace.store.execute("UPDATE labels SET boxes = '[]', status = 'empty', updated_at = '2020'")
    line.push(2)
    assert line.pull(2).late == 0
    assert line.labels()[first[0]] == []

    line.request("PATCH", f"annotations/{submitted[0]}/", {"result": [_moved(line, first[0])]})
    assert line.pull(2).late == 1
    assert line.labels()[first[0]][0][0] == pytest.approx(0.5 * 96)
    with pytest.raises(LabelStudioError, match="was pushed to project"):
        sync.send_back(line.workspace, 1, "https://labels.example.org", line.project, reasons)


def test_no_label_goes_with_its_task(line: Line) -> None:
    """A deleted or refused task leaves its earlier label as it is."""
    first, second = line.push(1)
    line.submit(1, first)
    annotation = line.submit(1, second)
    assert line.pull(1).counts == {"labelled": 2}
    kept = line.labels()
    line.request("DELETE", f"tasks/{line.task(1, first)['id']}/")
    wrong = {"id": "r", "type": "rectanglelabels", "value": [1, 2]}
    line.request("PATCH", f"annotations/{annotation}/", {"result": [wrong]})
    pulled = line.pull(1)
    assert pulled.counts == {"deleted": 1, "refused": 1}
    assert line.labels() == kept
    assert set(kept) == {first, second}


def test_another_address_is_refused_before_anything_is_sent_there(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.push(1)
    pushed = server_name(line.workspace)
    with proxied(line.running.info.url) as proxy:
        settings = structs.replace(line.workspace.config.label_studio, url=proxy.url)
        config = structs.replace(line.workspace.config, label_studio=settings)
        elsewhere = Workspace(line.workspace.root, config, line.workspace.store)
        with pytest.raises(LabelStudioError, match=r"was pushed to project .* names .* now"):
            sync.pull_labels(elsewhere, 1, pushed, line.project)
        assert proxy.seen == []


def test_another_project_begins_when_nothing_is_lost_with_the_old_one(line: Line) -> None:
    """Answers are pulled first. A draft or a refused answer is named, and stops it."""
    first, second = line.push(1)
    line.submit(1, first)
    folder = line.workspace.cycle_dir(1) / "push"
    folder.mkdir(parents=True)
    output = {"server": server_name(line.workspace), "project_id": line.project}
    (folder / "stage.json").write_text(json.dumps({"input_hash": "", "output": output}))
    task = line.task(1, second)["id"]
    line.request("POST", f"tasks/{task}/drafts", {"result": [], "lead_time": 1})
    with pytest.raises(
        LabelStudioError, match=r"1 answers that were begun .*Nothing was changed.*new-project --yes"
    ):
        restart_labelling(line.workspace)
    assert set(line.labels()) == {first}  # and pulled it was
    wrong = {"id": "r", "type": "rectanglelabels", "value": [1, 2]}
    line.request("POST", f"tasks/{task}/annotations/", {"result": [wrong]})
    with pytest.raises(LabelStudioError, match="a refused answer: the result cannot be read"):
        restart_labelling(line.workspace)
    assert "are kept" in restart_labelling(line.workspace, anyway=True)
    assert set(line.labels()) == {first}
    assert sync.answered_in_old_project(line.workspace, 1) == {first}


def outlined_boxes(_: ScoredImages, index: int, width: int, height: int) -> Boxes:
    """The predictions of a model with masks: one of low score, one with a mask."""
    pixels = np.zeros((height, width), np.bool_)
    pixels[10:30, 20:60] = True
    corners = np.array([[20.0, 10, 60, 30], [1, 1, 5, 5]])
    return Boxes(corners, np.array([1, 0]), np.array([0.9, 0.1]), (mask(pixels), None))


@pytest.mark.parametrize(("form", "kind"), [("brush", "brushlabels"), (None, "rectanglelabels")])
def test_the_outlines_of_the_model_are_shown_where_people_draw_outlines(
    line: Line, monkeypatch: pytest.MonkeyPatch, form: str | None, kind: str
) -> None:
    monkeypatch.setattr(ScoredImages, "outlined_boxes", outlined_boxes, raising=False)
    found = Boxes(np.array([[20.0, 10, 60, 30]]), np.array([1]), np.array([0.9]))
    monkeypatch.setattr(ScoredImages, "boxes", lambda *_: found)
    config = line.workspace.config
    server = structs.replace(config.label_studio, outlines=form or "auto")
    config = structs.replace(
        config, name=kind, task="segmentation" if form else "detection", label_studio=server
    )
    line.workspace = line.workspace.with_settings(config)
    images = line.push(1)
    regions = [line.task(1, image)["predictions"][0]["result"] for image in images]
    assert [[one["type"] for one in regions[i]] for i in range(2)] == [[kind], [kind]]
    task = line.task(1, images[0])
    answer = {"result": regions[0], "parent_prediction": task["predictions"][0]["id"]}
    line.request("POST", f"tasks/{task['id']}/annotations/", answer)
    pulled = line.pull(1)
    assert (pulled.counts, pulled.edits) == ({"labelled": 1, "pending": 1}, Edits(kept=1))
    (item,) = repository.labelled(line.workspace, outlines=True)
    np.testing.assert_allclose(item.boxes.xyxy, [[20, 10, 60, 30]], atol=1e-9)
    assert (item.boxes.outlines is None) == (form is None)
    if form:
        assert item.boxes.outlines is not None
        assert item.boxes.outlines[0] is not None
        assert area(item.boxes.outlines[0]) == pytest.approx(20 * 40)


def test_a_crossing_polygon_is_told(line: Line) -> None:
    config = structs.replace(line.workspace.config, task="segmentation", name="crossing")
    line.workspace = line.workspace.with_settings(config)
    image, _ = line.push(1)
    points = [[10, 10], [50, 60], [50, 10], [10, 60]]
    region = {
        "id": "p", "from_name": "polygon", "to_name": "image", "type": "polygonlabels", "image_rotation": 0,
        "original_width": 96, "original_height": 64, "value": {"points": points, "polygonlabels": ["bolt"]},
    }  # fmt: skip
    line.request("POST", f"tasks/{line.task(1, image)['id']}/annotations/", {"result": [region]})
    pulled = line.pull(1)
    assert pulled.problems == []
    (note,) = pulled.notes
    assert note.startswith("a polygon crosses itself: kept as a mask")
    assert f"?task={line.task(1, image)['id']}" in note


def test_the_last_pull_before_another_project_reads_what_people_draw(line: Line) -> None:
    """The cycle began with outlines; al-loop.toml says something else now."""
    config = structs.replace(line.workspace.config, task="segmentation", name="last pull")
    began = line.workspace
    line.workspace = line.workspace.with_settings(config)
    image, _ = line.push(1)
    folder = line.workspace.cycle_dir(1) / "push"
    folder.mkdir(parents=True)
    output = {"server": server_name(line.workspace), "project_id": line.project}
    (folder / "stage.json").write_text(json.dumps({"input_hash": "", "output": output}))
    region = {
        "id": "p", "from_name": "polygon", "to_name": "image", "type": "polygonlabels", "image_rotation": 0,
        "original_width": 96, "original_height": 64,
        "value": {"points": [[10, 10], [50, 10], [50, 60]], "polygonlabels": ["bolt"]},
    }  # fmt: skip
    line.request("POST", f"tasks/{line.task(1, image)['id']}/annotations/", {"result": [region]})
    assert "are kept" in restart_labelling(began)
    assert list(line.labels()) == [image]


def _moved(line: Line, image: str) -> Json:
    (annotation,) = line.task(1, image)["annotations"]
    (region,) = annotation["result"]
    return {**region, "value": {**region["value"], "x": 50.0}}


def test_killed_while_labels_are_written(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any number of labels: none is stored, and the next pull writes all."""
    ids = line.push(1)
    for image in ids:
        line.submit(1, image)
    really = sync._write_answer
    for after in range(len(ids)):
        written = []

        def killing(workspace: Workspace, cycle: int, task: PulledTask) -> None:
            if len(written) == after:  # noqa: B023
                raise KeyboardInterrupt
            written.append(task)  # noqa: B023
            really(workspace, cycle, task)

        with monkeypatch.context() as patch:
            patch.setattr(sync, "_write_answer", killing)
            with pytest.raises(KeyboardInterrupt):
                line.pull(1)
        assert line.labels() == {}
    assert line.pull(1).counts == {"labelled": 2}
    assert set(line.labels()) == set(ids)


def test_outlines_are_kept_and_a_change_of_one_is_found(line: Line) -> None:
    config = structs.replace(line.workspace.config, task="segmentation")
    line.workspace = Workspace(line.workspace.root, config, line.workspace.store)
    (image, _) = line.push(1)

    def drawn(*points: tuple[float, float]) -> Json:
        return {
            "id": "p", "from_name": "polygon", "to_name": "image", "type": "polygonlabels",
            "image_rotation": 0, "original_width": 96, "original_height": 64,
            "value": {"points": points, "closed": True, "polygonlabels": ["nut"]},
        }  # fmt: skip

    def outline() -> list[float]:
        (item,) = repository.labelled(line.workspace, outlines=True)
        assert item.boxes.outlines is not None
        np.testing.assert_allclose(item.boxes.xyxy, [[9.6, 6.4, 48, 32]])
        return item.boxes.outlines[0][0]  # type: ignore[index]

    task = line.task(1, image)["id"]
    path = f"tasks/{task}/annotations/"
    made = line.request("POST", path, {"result": [drawn((10, 10), (50, 10), (50, 50))]})["id"]
    assert line.pull(1).counts == {"labelled": 1, "pending": 1}
    np.testing.assert_allclose(outline(), [9.6, 6.4, 48, 6.4, 48, 32])
    line.finish(1)
    line.push(2)
    assert line.pull(2).late == 0
    # The hull stays what it is: only the outline says more.
    line.request("PATCH", f"annotations/{made}/", {"result": [drawn((10, 10), (50, 10), (10, 50))]})
    assert line.pull(2).late == 1
    np.testing.assert_allclose(outline(), [9.6, 6.4, 48, 6.4, 9.6, 32])
    line.request("PATCH", f"annotations/{made}/", {"result": []})
    assert line.pull(2).late == 1
    (item,) = repository.labelled(line.workspace, outlines=True)
    assert item.boxes.outlines is None


def test_a_project_for_rectangles_is_left_when_outlines_are_wanted(line: Line) -> None:
    line.push(1)
    line.finish(1)
    config = structs.replace(line.workspace.config, task="segmentation")
    line.workspace = Workspace(line.workspace.root, config, line.workspace.store)
    with pytest.raises(
        LabelStudioError, match="Begin another project with: al-loop label-studio new-project"
    ):
        line.push(2)
    before = line.project
    restart_labelling(line.workspace)
    line.workspace.store.execute("DELETE FROM picks WHERE cycle = 2")
    line.workspace.store.execute("DELETE FROM cycles WHERE number = 2")
    line.push(2)
    assert line.project != before


def test_a_later_cycle_says_more_than_an_older_one(line: Line) -> None:
    """Of an image that was left open and picked again, the answer to the newer task stays."""
    first = line.push(1)
    line.pull(1)
    line.finish(1)
    store = line.workspace.store
    line.push(2)
    line.pull(2)
    store.execute(
        "INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, 'labelled', '[[1, 1, 5, 5, 0]]', 2, 'x', 1.0, 'now', NULL)",
        first[0],
    )
    line.submit(1, first[0])
    assert line.pull(2).late == 0
    assert line.labels()[first[0]] == [[1, 1, 5, 5]]


def test_training_takes_the_labels_as_they_were_pulled(line: Line, tmp_path: Path) -> None:
    first = line.push(1)
    line.submit(1, first[0])
    line.pull(1)
    kept = repository.snapshot(repository.labelled(line.workspace))
    line.workspace.store.execute("UPDATE labels SET boxes = '[]', status = 'empty'")
    (item,) = repository.from_snapshot(line.workspace, kept)
    assert item.image.id == first[0]
    assert len(item.boxes) == 1
    assert repository.labels_hash([item]) == repository.labels_hash(
        repository.from_snapshot(line.workspace, kept)
    )


def test_two_workspaces_of_one_name_do_not_mix(
    filled: Workspace, label_studio: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies with the same images at one server: each sees only its tasks, even in one project."""
    monkeypatch.setenv("AL_LOOP_LABEL_STUDIO_TOKEN", label_studio.info.token)
    shutil.copytree(filled.root, tmp_path / "copy")
    copy = open_workspace(tmp_path / "copy")
    one, two = Line(filled, label_studio, name="twin"), Line(copy, label_studio, name="twin")
    key = f"label_studio_project {server_name(one.workspace)}"
    ids = one.push(1)
    copy.store.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, str(one.project))
    assert two.push(1) == ids
    assert two.project == one.project
    one.submit(1, ids[0])
    assert one.pull(1).counts == {"labelled": 1, "pending": 1}
    assert two.pull(1).counts == {"pending": 2}


def test_a_cycle_that_was_pushed_under_an_older_name_is_found(line: Line) -> None:
    ids = line.push(1)
    line.workspace.store.execute("UPDATE picks SET task_key = 'cycle-1/' || image_id")
    assert sync.batch_name(line.workspace, 1) == "cycle-1"
    assert sync.task_key("cycle-1", ids[0]) == f"cycle-1/{ids[0]}"
