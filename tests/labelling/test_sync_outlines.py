"""Outlines between the workspace and the server: shown, drawn, changed, and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from msgspec import structs
from support.synced_workspace import Line

from al_loop.core.errors import LabelStudioError
from al_loop.images import repository
from al_loop.labelling.backend import server_name
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import Edits
from al_loop.loop.recovery import restart_labelling
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.predictions import ScoredImages
from al_loop.structures.segmentation import area, mask

pytestmark = pytest.mark.server


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
