"""Labels out of a workspace, and in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from al_loop.cli import cli
from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.images.export import Exported, export_labels
from al_loop.state.workspace import Workspace
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import total_boxes

TRIANGLE = [[10.5, 10.25, 40.0, 10.25, 40.0, 30.125]]


def label(workspace: Workspace) -> dict[str, Boxes]:
    """Label four of the six photographs: outlines, a rectangle, nothing, a skip."""
    pixels = np.zeros((64, 96), bool)
    pixels[20:30, 50:70] = True
    pixels[20:25, 50:60] = False
    drawn = Boxes(
        np.array([[10.5, 10.25, 40.0, 30.125], [50, 20, 70, 30], [1 / 3, 2 / 3, 9, 9]]),
        np.array([1, 0, 1]),
        outlines=(TRIANGLE, segmentation.mask(pixels), None),
    )
    plain = Boxes(np.array([[0.1, 0.2, 96.0, 64.0]]), np.array([0]))
    ids = [image.id for image in repository.unlabelled(workspace)]
    boxes_by_id = dict(zip(ids, (drawn, plain, Boxes(), Boxes()), strict=False))
    states = ("labelled", "labelled", "empty", "skipped")
    for state, (image, boxes) in zip(states, boxes_by_id.items(), strict=True):
        workspace.store.execute(
            "INSERT INTO labels "
            "(image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
            "VALUES (?, ?, ?, 1, 'ann', 4.0, 'now', ?)",
            image, state, repository.boxes_to_json(boxes), repository.outlines_to_json(boxes),
        )  # fmt: skip
    return boxes_by_id


def test_the_database_keeps_outlines_and_snapshots_do_without(filled: Workspace) -> None:
    written = label(filled)
    for item in repository.labelled(filled, outlines=True):
        np.testing.assert_array_equal(item.boxes.xyxy, written[item.image.id].xyxy)
        assert item.boxes.outlines == written[item.image.id].outlines
    plain = repository.labelled(filled)
    assert all(item.boxes.outlines is None for item in plain)
    # Snapshots that cycles have kept, and their hashes, know nothing of outlines.
    assert repository.labels_hash(plain) == repository.labels_hash(repository.labelled(filled, outlines=True))


def test_a_snapshot_gets_the_outlines_of_its_boxes(filled: Workspace) -> None:
    written = label(filled)
    plain = repository.labelled(filled)
    drawn = repository.with_outlines(filled, plain)
    assert [item.image for item in drawn] == [item.image for item in plain]
    assert [item.boxes.outlines for item in drawn] == [written[item.image.id].outlines for item in plain]
    # Boxes that were corrected since the snapshot have other outlines.
    filled.store.execute("UPDATE labels SET boxes = ?", repository.boxes_to_json(plain[1].boxes))
    filled.store.execute("UPDATE labels SET outlines = NULL WHERE json_array_length(outlines) != 1")
    assert all(item.boxes.outlines is None for item in repository.with_outlines(filled, plain))


def test_ignore_regions_are_kept_apart_from_boxes(filled: Workspace) -> None:
    label(filled)
    before = repository.labelled(filled)
    named, snapshot = before[0].image.id, repository.snapshot(before)
    region = Boxes(np.array([[1.5, 2.0, 30.0, 40.0]]), np.array([1]))
    filled.store.execute(
        "INSERT INTO ignore_regions (image_id, boxes) VALUES (?, ?)", named, repository.boxes_to_json(region)
    )
    after = repository.labelled(filled)
    assert after[0].ignored.xyxy.tolist() == region.xyxy.tolist()
    assert all(not len(item.ignored) for item in after[1:])
    assert total_boxes(after) == total_boxes(before) == 4
    # Only the image that has one is put down otherwise: hashes of older snapshots stay.
    assert repository.snapshot(after)[1:] == snapshot[1:]
    assert repository.snapshot(after)[0] == [*snapshot[0], [[1.5, 2.0, 30.0, 40.0]], [1]]
    again = repository.from_snapshot(filled, repository.snapshot(after))
    assert repository.snapshot(again) == repository.snapshot(after)
    export_labels(filled, filled.root / "labels.json")
    back = read_coco(filled.root / "labels.json", filled.config.classes)
    kept = {image.path.resolve().stem: image for image in back.images}[named]
    assert kept.ignored.xyxy.tolist() == region.xyxy.tolist()
    assert len(kept.boxes) == len(after[0].boxes)


@pytest.mark.parametrize("where", ["labels.json", "../elsewhere/deep/labels.json"])
def test_what_is_exported_comes_back(filled: Workspace, where: str) -> None:
    written = label(filled)
    target = filled.root / where
    assert export_labels(filled, target) == Exported(images=3, empty=1, boxes=4, outlines=2, skipped=1)
    back = read_coco(target, filled.config.classes)
    assert back.problems == []
    assert [image.path.resolve().stem for image in back.images] == sorted(list(written)[:3])
    for image in back.images:
        boxes = written[image.path.resolve().stem]
        assert (image.width, image.height) == (96, 64)
        np.testing.assert_allclose(image.boxes.xyxy, boxes.xyxy, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(image.boxes.labels, boxes.labels)
    assert not Path(json.loads(target.read_text())["images"][0]["file_name"]).is_absolute()


def test_other_readers_of_coco_understand_the_outlines(
    filled: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    label(filled)
    export_labels(filled, filled.root / "labels.json")
    read: Any = COCO(str(filled.root / "labels.json"))
    capsys.readouterr()
    triangle, mask, box, _ = read.loadAnns(read.getAnnIds())
    assert triangle["segmentation"] == TRIANGLE
    assert triangle["area"] == 29.5 * 19.875 / 2
    assert read.annToMask(mask).sum() == mask["area"] == 20 * 10 - 50
    np.testing.assert_array_equal(coco.toBbox(read.annToRLE(mask)), mask["bbox"])
    assert read.annToMask(triangle).sum() == pytest.approx(triangle["area"], rel=0.1)
    assert "segmentation" not in box
    assert {a["iscrowd"] for a in (triangle, mask, box)} == {0}


def test_nothing_is_overwritten_and_nothing_is_made_of_nothing(filled: Workspace) -> None:
    target = filled.root / "labels.json"
    with pytest.raises(DataError, match=r"no image is labelled yet.* al-loop cycle"):
        export_labels(filled, target)
    assert not target.exists()
    label(filled)
    target.write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        export_labels(filled, target)
    assert target.read_text() == "precious"
    with pytest.raises(DataError, match="cannot be written"):
        export_labels(filled, target / "below" / "a file.json")


def test_from_the_command_line(filled: Workspace) -> None:
    from click.testing import CliRunner

    label(filled)
    target = filled.root / "labels.json"
    done = CliRunner().invoke(cli, ["-w", str(filled.root), "pool", "export", str(target)])
    assert done.exit_code == 0
    assert done.output == (
        f"{target}: 3 images, 1 of them empty, 4 boxes, 2 with an outline; 1 skipped images are left out\n"
    )
    added = CliRunner().invoke(
        cli, ["-w", str(filled.root), "pool", "add-val", str(target), "--name", "again"]
    )
    assert "3 taken out of the pool" in added.output
    assert {image.boxes.outlines for image in repository.validation(filled, "again")} == {None}
