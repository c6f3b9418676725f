"""Outlines of COCO files as labels of a segmentation workspace: stored, hashed, compared, restored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.factories import edited, write_coco_set
from support.outlined_sets import for_outlines, write_outlined_set

from al_loop.core.console import Silent
from al_loop.core.files import json_hash
from al_loop.images import repository
from al_loop.images.pool_labels import add_labelled
from al_loop.images.training_sets import labelled_files
from al_loop.images.validation_sets import add_validation
from al_loop.models.evaluation import evaluation_hash
from al_loop.state.database.label_history_table import restore
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage, total_outlines
from al_loop.structures.metrics import VALIDATION

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def outlined(workspace: Workspace) -> Workspace:
    """An empty segmentation workspace."""
    return for_outlines(workspace)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three images; of the two boxes of each, the first has an outline of five corners."""
    return write_outlined_set(tmp_path / "mine", 3, seed=7)


def outlines(images: list[LabelledImage]) -> list[Any]:
    return [outline for item in images for outline in item.boxes.outlines or (None,) * len(item.boxes)]


def written(coco: Path) -> list[Any]:
    """Return the outlines of the file, by the order of its annotations."""
    return [annotation.get("segmentation") for annotation in json.loads(coco.read_text())["annotations"]]


def moved(data: dict[str, Any]) -> None:
    """Move one corner of the first outline by three pixels."""
    data["annotations"][0]["segmentation"][0][4] -= 3


def without(data: dict[str, Any]) -> None:
    for annotation in data["annotations"]:
        annotation.pop("segmentation", None)


def test_outlines_of_files_are_stored_with_the_labels(outlined: Workspace, coco: Path, run: Run) -> None:
    status, out, _ = run("-w", outlined.root, "pool", "add-labelled", coco)
    assert status == 0
    assert out.endswith("labelled now: 3 images, 6 boxes, 3 of them with an outline, 0 images empty\n")
    assert sorted(map(str, outlines(repository.labelled(outlined)))) == sorted(map(str, written(coco)))
    val = write_outlined_set(coco.parent.parent / "val", 2, seed=2)
    _, out, _ = run("-w", outlined.root, "pool", "add-val", val)
    assert out.endswith("validation now: 2 images, 4 boxes, 2 of them with an outline, 0 images empty\n")
    assert total_outlines(repository.validation(outlined)) == 2
    # What was read can be written, and read again.
    target = outlined.root / "labels.json"
    _, out, _ = run("-w", outlined.root, "pool", "export", target)
    assert "6 boxes, 3 with an outline" in out
    _, out, _ = run("-w", outlined.root, "pool", "add-labelled", target)
    assert out.startswith("0 labelled images added, 0 images of the pool labelled, 3 known already")


def test_a_workspace_for_boxes_stores_none(workspace: Workspace, coco: Path, run: Run) -> None:
    _, out, _ = run("-w", workspace.root, "pool", "add-labelled", coco)
    assert out.endswith("labelled now: 3 images, 6 boxes, 0 images empty\n")
    assert workspace.store.column("SELECT DISTINCT outlines FROM labels") == [None]
    assert outlines(repository.labelled(workspace, outlines=True)) == [None] * 6


def test_bad_outlines_are_named_and_the_rest_is_imported(outlined: Workspace, coco: Path, run: Run) -> None:
    def spoil(data: dict[str, Any]) -> None:
        first, second, third = data["annotations"][:3]
        first["segmentation"] = [[1, 2, 3, 4]]
        x, y, w, h = second["bbox"]
        second["segmentation"] = [[x, y, x + w, y + h, x + w, y, x, y + h]]
        third["segmentation"] = {"size": [5, 5], "counts": [25]}

    _, out, _ = run("-w", outlined.root, "pool", "add-labelled", edited(coco, "bad.json", spoil))
    assert "3 labelled images added" in out
    assert "3 problems in bad.json:" in out
    kept = "its segmentation is left out, its box kept: "
    assert (
        f"annotation 1 of photo-001.png: {kept}a polygon is a list of x, y, x, y, ... of three corners" in out
    )
    assert f"annotation 3 of photo-002.png: {kept}run lengths need the size [64, 96] of the image" in out
    assert "annotation number 2 of photo-001.png: its polygon crosses itself: what lies in an even" in out
    assert out.endswith("labelled now: 3 images, 6 boxes, 2 of them with an outline, 0 images empty\n")


def test_hashes_include_outlines_only_where_there_are_any(outlined: Workspace, coco: Path) -> None:
    add_labelled(outlined, coco)
    images = repository.labelled(outlined)
    plain = [[i.image.id, i.boxes.xyxy.tolist(), i.boxes.labels.tolist()] for i in images]
    assert repository.snapshot(images) == plain
    assert repository.labels_hash(images) == json_hash(plain)
    whole = [[*row, {"outlines": list(i.boxes.outlines or ())}] for row, i in zip(plain, images, strict=True)]
    assert repository.snapshot(images, outlines=True) == whole
    # Images without outlines have the same rows in both kinds of workspaces.
    add_labelled(outlined, edited(coco, "plain.json", without), replace_labels=True)
    images = repository.labelled(outlined)
    assert total_outlines(images) == 0
    assert repository.labels_hash(images, outlines=True) == json_hash(plain)


def test_a_snapshot_brings_its_outlines_back(outlined: Workspace, coco: Path) -> None:
    def crowd(data: dict[str, Any]) -> None:
        data["annotations"][1]["iscrowd"] = 1

    add_labelled(outlined, edited(coco, "crowd.json", crowd))
    images = repository.labelled(outlined)
    data = json.loads(json.dumps(repository.snapshot(images, outlines=True)))
    assert repository.has_outlines(data)
    again = repository.from_snapshot(outlined, data)
    assert outlines(again) == outlines(images)
    assert [len(item.ignored) for item in again] == [len(item.ignored) for item in images]
    assert sum(len(item.ignored) for item in images) == 1
    assert repository.snapshot(again, outlines=True) == data
    old = repository.snapshot(images)
    assert not repository.has_outlines(old)
    assert outlines(repository.from_snapshot(outlined, old)) == [None] * 5


def test_an_evaluation_is_another_if_an_outline_changes(outlined: Workspace, coco: Path) -> None:
    add_validation(outlined, coco)
    boxes = outlined.with_settings(_detection(outlined))

    def hashes() -> tuple[str, str]:
        found = [evaluation_hash(here, repository.validation(here), VALIDATION) for here in (outlined, boxes)]
        return found[0], found[1]

    assert hashes()[0] != hashes()[1]
    before = hashes()
    add_validation(outlined, edited(coco, "moved.json", moved), replace_labels=True)
    assert hashes()[0] != before[0]
    assert hashes()[1] == before[1]
    add_validation(outlined, edited(coco, "plain.json", without), replace_labels=True)
    assert hashes() == (before[1], before[1])


def test_other_outlines_are_another_label(outlined: Workspace, coco: Path, run: Run) -> None:
    """As after a change from boxes to outlines: the same boxes, now with outlines."""
    add_labelled(outlined, edited(coco, "plain.json", without))
    _, out, _ = run("-w", outlined.root, "pool", "add-labelled", coco)
    assert "3 have labels that differ: kept as they are. Replace them: --replace\n" in out
    assert "has 2 boxes from plain.json; coco.json has the same boxes with other outlines\n" in out
    assert total_outlines(repository.labelled(outlined)) == 0
    _, out, _ = run("-w", outlined.root, "pool", "add-labelled", coco, "--replace")
    assert "3 labels replaced. Undo: al-loop labels restore --last" in out
    assert total_outlines(repository.labelled(outlined)) == 3
    # Corners that differ by rounding are the same.
    near = edited(
        coco, "near.json", lambda d: d["annotations"][0]["segmentation"][0].__setitem__(0, _near(d))
    )
    _, out, _ = run("-w", outlined.root, "pool", "add-labelled", near)
    assert out.startswith("0 labelled images added, 0 images of the pool labelled, 3 known already")
    with outlined.lock():
        assert len(restore(outlined.store, (), last=True)) == 3
    assert total_outlines(repository.labelled(outlined)) == 0


def _near(data: dict[str, Any]) -> float:
    return float(data["annotations"][0]["segmentation"][0][0]) + 0.01


def _detection(workspace: Workspace) -> Any:
    from msgspec import structs

    return structs.replace(workspace.config, task="detection")


def test_copies_of_an_image_have_one_outline(outlined: Workspace, coco: Path) -> None:
    plain, other = edited(coco, "plain.json", without), edited(coco, "moved.json", moved)
    tell = Silent()
    images = labelled_files(outlined, [plain, coco], tell)
    assert outlines(images) == written(coco)
    assert "images to pretrain on: 3 images, 6 boxes, 3 of them with an outline, 0 images empty" in tell.lines
    assert any("the same image with and without outlines; they are used" in line for line in tell.lines)
    tell = Silent()
    assert len(labelled_files(outlined, [coco, other], tell)) == 2
    assert any("the same image has different outlines in photo-001.png" in line for line in tell.lines)
    # A workspace for boxes takes the first of copies with the same boxes, as before.
    boxes, tell = outlined.with_settings(_detection(outlined)), Silent()
    assert outlines(labelled_files(boxes, [coco, other], tell)) == written(coco)
    assert tell.lines == ["images to pretrain on: 3 images, 6 boxes, 0 images empty"]


def test_files_to_pretrain_on_are_checked(outlined: Workspace, coco: Path) -> None:
    def outside(data: dict[str, Any]) -> None:
        data["annotations"][0]["segmentation"] = [[110, 10, 132, 10, 132, 22]]

    bad, tell = edited(coco, "bad.json", outside), Silent()
    images = labelled_files(outlined, [bad], tell)
    assert total_outlines(images) == 2
    assert any("its polygon lies outside the 96x64 image" in line for line in tell.lines)
    assert repository.labels_hash(images, outlines=True) != repository.labels_hash(images)


def test_boxes_without_outlines_are_valid_labels(outlined: Workspace, tmp_path: Path, run: Run) -> None:
    coco = write_coco_set(tmp_path / "boxes", 3, seed=5)
    _, out, _ = run("-w", outlined.root, "pool", "add-labelled", coco)
    assert out.endswith("labelled now: 3 images, 6 boxes, 0 of them with an outline, 0 images empty\n")
