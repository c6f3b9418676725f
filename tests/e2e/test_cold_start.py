"""A new user with photographs only: init, pool add, label-studio start, cycle. All parts are real."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import al_loop
from support.factories import CLASSES, write_coco_set

from al_loop.cli.simulated_annotator import SimulatedAnnotator
from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.labelling.server.server import running_server, stop
from al_loop.state.model_registry import current_model
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.boxes import Boxes

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.train]

SETTINGS = """
[model]
config = "lite"
image_size = [96, 64]
[pretrain]
steps = 60
[train]
steps = 20
[cycle]
validation_images = 6
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with 24 photographs; its server is stopped at the end."""
    root = tmp_path_factory.mktemp("e2e") / "line4"
    al_loop(root, "init", root, "--classes", ",".join(CLASSES))
    path = root / "al-loop.toml"
    head = [line for line in path.read_text().splitlines() if re.match("name|classes", line)]
    path.write_text("\n".join(head) + SETTINGS)
    opened = open_workspace(root)
    yield opened
    stop(opened.server_home)
    opened.store.close()


def annotate(workspace: Workspace, truth: dict[str, Boxes], *, validation: bool) -> int:
    info = running_server(workspace.server_home)
    pushed = json.loads((workspace.cycle_dir(1) / "push" / "stage.json").read_text())["output"]
    queue = pushed["validation"] if validation else pushed
    annotator = SimulatedAnnotator(info.url, info.email, info.password)
    done = annotator.annotate(queue["project_id"], queue["view_id"], truth.get, classes=CLASSES)
    return done.tasks


def test_from_photographs_to_a_model(workspace: Workspace, tmp_path: Path) -> None:
    root, coco = workspace.root, write_coco_set(tmp_path / "photos", 24, seed=3)
    items = read_coco(coco, CLASSES).images
    truth = {hashlib.sha256(item.path.read_bytes()).hexdigest(): item.boxes for item in items}
    assert "24 added" in al_loop(root, "pool", "add", coco.parent / "images")
    assert "next        al-loop label-studio start" in al_loop(root, "status")
    al_loop(root, "label-studio", "start")

    first = al_loop(root, "cycle", "--k", 8)
    assert "cycle 1: k = 8, no model yet, 24 unlabelled images" in first
    assert "select: 8 by typiclust, 6 for the validation set" in first
    assert "cycle 1 waits: 0 of 14 labelled. Label the rest:\n  validation set: http://127.0.0.1" in first
    pushed = json.loads((workspace.cycle_dir(1) / "push" / "stage.json").read_text())["output"]
    with running_server(workspace.server_home).connection.open() as api:
        tasks = api.tasks(pushed["project_id"], whole=True)
        titles = [view["data"]["title"] for view in api.views(pushed["project_id"])]
    assert len(tasks) == 14
    assert not any(task["predictions"][0]["result"] for task in tasks)  # there is no model yet
    assert titles[-2:] == ["Validation set", "Cycle 1"]

    assert "nothing is wrong" in al_loop(root, "doctor")
    assert annotate(workspace, truth, validation=True) == 6
    assert "cycle 1 waits: 6 of 14 labelled" in al_loop(root, "cycle")
    assert annotate(workspace, truth, validation=False) == 8
    last = al_loop(root, "cycle")
    assert "validation set: 6 images, 12 boxes, 0 images empty" in last
    assert "train: 8 images, 0 of them empty" in last
    assert "the first model, AP 0." in last
    assert current_model(workspace).id == "cycle-1"
    drawn = {row["image_id"] for row in workspace.store.rows("SELECT image_id FROM picks WHERE validation")}
    assert {item.image.id for item in repository.validation(workspace)} == drawn
    assert not drawn & {item.image.id for item in repository.labelled(workspace)}

    for command in (("verify", 1), ("reproduce", 1)):
        assert "CHANGED" not in al_loop(root, *command)
    assert "nothing is wrong" in al_loop(root, "doctor")
    page = Path(al_loop(root, "report").removeprefix("report: ").strip()).read_text()
    assert "the first model" in page
    assert "└ cycle-1" in al_loop(root, "models", "list")
    second = al_loop(root, "cycle", "--k", 4)
    assert "select: 4 by dbal" in second
    assert "validation" not in second
