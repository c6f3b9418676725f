"""Images to pretrain on: upright, checked, each once, and never what models are evaluated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from support.factories import draw, edited, write_coco_set

from al_loop.core.console import Silent
from al_loop.core.errors import DataError
from al_loop.core.files import file_sha256
from al_loop.core.training_config import TrainConfig
from al_loop.images import repository
from al_loop.images.export import export_labels
from al_loop.images.training_sets import labelled_files, rendered_beside, synthetic_images
from al_loop.images.validation_sets import add_validation
from al_loop.state.workspace import Workspace


def turn(coco: Path) -> None:
    """Store every picture of a set on its side, with the EXIF tag that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = json.loads(coco.read_text())
    for entry in data["images"]:
        file = coco.parent / "images" / entry["file_name"]
        with Image.open(file) as picture:
            side = picture.transpose(Image.Transpose.ROTATE_90)
        file.unlink()
        entry["file_name"] = file.with_suffix(".jpg").name
        side.save(file.with_suffix(".jpg"), exif=exif, quality=95, subsampling=0)
    coco.write_text(json.dumps(data))


def test_turned_photographs_are_learnt_upright(workspace: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 3)
    turn(coco)
    tell = Silent()
    images = labelled_files(workspace, [coco], tell)
    assert len(images) == 3
    for item in images:
        # As a trainer reads it: by its path, without looking at tags.
        picture = cv2.imread(str(item.image.path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert picture.shape == (item.image.height, item.image.width, 3) == (64, 96, 3)
        assert item.image.path.is_relative_to(workspace.root / "training-images")
        for x1, y1, x2, y2 in item.boxes.xyxy.astype(
            int
        ):  # the bright blocks (230, 200, 40) lie in the boxes
            block = picture[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            assert np.abs(block.astype(int) - (40, 200, 230)).mean() < 12
    before = {path: path.stat().st_mtime_ns for path in (workspace.root / "training-images").rglob("*.jpg")}
    assert repository.labels_hash(labelled_files(workspace, [coco], tell)) == repository.labels_hash(images)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    next(iter(before)).write_bytes(b"damaged")
    labelled_files(workspace, [coco], tell)
    assert all(file_sha256(path) == path.stem for path in before)
    assert tell.lines[0] == "images to pretrain on: 3 images, 6 boxes, 0 images empty"


def test_upright_files_are_not_copied(workspace: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 3)
    images = labelled_files(workspace, [coco], Silent())
    assert [item.image.path for item in images] == sorted((coco.parent / "images").iterdir())
    assert [item.image.id for item in images] == [file_sha256(item.image.path) for item in images]
    assert not (workspace.root / "training-images").exists()


def test_what_cannot_be_used_is_named_and_left_out(workspace: Workspace, tmp_path: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["images"][0]["width"] = 90
        data["images"][1]["file_name"] = "lost.png"

    coco = edited(write_coco_set(tmp_path / "set", 5), "bad.json", spoil)
    cut = coco.parent / "images" / "photo-003.png"
    cut.write_bytes(cut.read_bytes()[:-3000])
    tell = Silent()
    images = labelled_files(workspace, [coco], tell)
    assert [item.image.path.name for item in images] == ["photo-004.png", "photo-005.png"]
    text = "\n".join(tell.lines)
    assert "photo-001.png" in text
    assert "is 96x64 px upright, bad.json says 90x64" in text
    assert "'lost.png': no such file" in text
    assert "photo-003.png: is damaged or cut short" in text
    assert "images to pretrain on: 2 images, 4 boxes, 0 images empty" in text


def test_problems_are_said_before_the_error_that_follows(workspace: Workspace, tmp_path: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["categories"][1]["name"] = "Nut"

    tell = Silent()
    coco = edited(write_coco_set(tmp_path / "set", 2), "bad.json", spoil)
    labelled_files(workspace, [coco], tell)
    assert "did you mean 'nut'?" in tell.lines[0]
    assert tell.lines[2] == "warning: no box of nut: the model cannot learn to find them"

    def spoil_all(data: dict[str, Any]) -> None:
        data["categories"][0]["name"] = "screw"

    tell = Silent()
    with pytest.raises(DataError, match="have no box of bolt, nut"):
        labelled_files(workspace, [edited(coco, "worse.json", spoil_all)], tell)
    assert "'screw' is none of bolt, nut" in tell.lines[0]


def test_changed_pixels_under_old_names_are_another_set(workspace: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 2)
    before = repository.labels_hash(labelled_files(workspace, [coco], Silent()))
    assert repository.labels_hash(labelled_files(workspace, [coco], Silent())) == before
    draw(96, 64, [], seed=77).save(coco.parent / "images" / "photo-001.png")
    assert repository.labels_hash(labelled_files(workspace, [coco], Silent())) != before


def test_no_model_learns_from_what_it_is_judged_on(filled: Workspace, tmp_path: Path) -> None:
    """Known by its bytes, by its pixels, and by the id that an export gives it."""
    val, more = tmp_path / "val" / "coco.json", write_coco_set(tmp_path / "more", 3, seed=7)
    with pytest.raises(DataError, match="all 4 usable images are evaluation images"):
        labelled_files(filled, [val], Silent())
    with pytest.raises(DataError, match="all 4 usable images are evaluation images"):
        labelled_files(filled, [more, val], Silent())

    first, second, third, _ = sorted((val.parent / "images").iterdir())
    target = more.parent / "images"
    (target / "bytes.png").write_bytes(first.read_bytes())
    with Image.open(second) as picture:
        picture.save(target / "pixels.webp", lossless=True)
    with Image.open(third) as picture:
        picture.convert("RGB").save(target / "lossy.jpg", quality=60)

    def mixed(data: dict[str, Any]) -> None:
        for number, name in enumerate(("bytes.png", "pixels.webp", "lossy.jpg"), start=11):
            data["images"].append({"id": number, "file_name": name, "width": 96, "height": 64})
            data["annotations"].append(
                {"id": number + 50, "image_id": number, "category_id": 1, "bbox": [1, 1, 9, 9]}
            )
        data["images"][-1]["image_sha256"] = file_sha256(third)

    tell = Silent()
    images = labelled_files(filled, [edited(more, "mixed.json", mixed)], tell)
    assert [item.image.path.name for item in images] == ["photo-001.png", "photo-002.png", "photo-003.png"]
    assert tell.lines[0].endswith("mixed.json: 3 images left out: models are evaluated on them")

    add_validation(filled, more, name="night")  # any set that models are evaluated on
    with pytest.raises(DataError, match="all 3 usable images are evaluation images"):
        labelled_files(filled, [more], Silent())


def test_an_export_of_turned_validation_photographs_is_not_learnt_from(
    workspace: Workspace, tmp_path: Path
) -> None:
    val, pool = write_coco_set(tmp_path / "val", 2), write_coco_set(tmp_path / "pool", 2, seed=3)
    turn(val)
    turn(pool)
    add_validation(workspace, pool)
    workspace.store.execute("DELETE FROM sets")
    workspace.store.execute("UPDATE images SET role = 'pool'")
    export_labels(workspace, tmp_path / "labels.json")
    add_validation(workspace, val)
    assert len(labelled_files(workspace, [tmp_path / "labels.json"], Silent())) == 2
    workspace.store.execute("UPDATE images SET role = 'validation'")
    with pytest.raises(DataError, match="all 2 usable images are evaluation images"):
        labelled_files(workspace, [tmp_path / "labels.json"], Silent())


def test_one_picture_in_two_files(workspace: Workspace, tmp_path: Path) -> None:
    first = write_coco_set(tmp_path / "first", 3)
    second = write_coco_set(tmp_path / "second", 3)  # the same pictures and boxes
    with Image.open(second.parent / "images" / "photo-001.png") as picture:
        picture.save(second.parent / "images" / "photo-001.png", compress_level=1)

    def move(data: dict[str, Any]) -> None:
        data["annotations"][2]["bbox"] = [1, 1, 9, 9]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 3]

    tell = Silent()
    images = labelled_files(workspace, [first, edited(second, "moved.json", move)], tell)
    assert [item.image.path.name for item in images] == ["photo-001.png", "photo-003.png"]
    assert [len(item.boxes) for item in images] == [2, 2]
    assert "is left out: the same image has different boxes in photo-002.png, photo-002.png" in tell.lines[0]
    assert "the same image with and without boxes; the boxes are used" in tell.lines[0]


def test_a_file_of_mostly_empty_images_is_suspicious(workspace: Workspace, tmp_path: Path) -> None:
    def without(data: dict[str, Any]) -> None:
        data["annotations"] = data["annotations"][:2]

    tell = Silent()
    labelled_files(workspace, [edited(write_coco_set(tmp_path / "set", 4), "few.json", without)], tell)
    assert tell.lines[0] == "images to pretrain on: 4 images, 2 boxes, 3 images empty"
    assert tell.lines[1].startswith("warning: 3 of 4 images have no boxes")


def test_regions_to_ignore_are_passed_on(workspace: Workspace, tmp_path: Path) -> None:
    def crowd(data: dict[str, Any]) -> None:
        data["annotations"][0]["iscrowd"] = 1

    images = labelled_files(
        workspace, [edited(write_coco_set(tmp_path / "set", 2), "c.json", crowd)], Silent()
    )
    assert [(len(item.boxes), len(item.ignored)) for item in images] == [(1, 1), (2, 0)]


def test_rendered_sets_are_hashed_and_not_decoded(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="al-loop render RECIPE"):
        synthetic_images(workspace, Silent())
    coco = write_coco_set(workspace.synthetic / "one", 3)
    coco.rename(coco.with_name("annotations.json"))
    workspace.store.execute("INSERT INTO datasets VALUES ('one', 'r', 3, 'now')")

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("al_loop.images.ingest.decode_image", never)
    monkeypatch.setattr("al_loop.images.labelled_sets.pixels_sha256", never)
    images = synthetic_images(workspace, Silent())
    assert [item.image.id for item in images] == [file_sha256(item.image.path) for item in images]


def test_rendered_images_beside_photographs_are_those_that_are_there(workspace: Workspace) -> None:
    for name, seed in (("one", 1), ("two", 2), ("lost", 3)):
        coco = write_coco_set(workspace.synthetic / name, 3, seed=seed)
        coco.rename(coco.with_name("annotations.json"))
        workspace.store.execute("INSERT INTO datasets VALUES (?, 'r', 3, 'now')", name)
    (workspace.synthetic / "lost" / "annotations.json").unlink()
    (workspace.synthetic / "two" / "images" / "photo-002.png").unlink()
    tell = Silent()
    assert rendered_beside(workspace, TrainConfig(), tell) == []
    assert tell.lines == []
    images = rendered_beside(workspace, TrainConfig(replay=0.5), tell)
    assert [item.image.path.parent.parent.name for item in images] == ["one"] * 3 + ["two"] * 2
    text = "\n".join(tell.lines)
    assert "rendered images left out:" in text
    assert "lost/annotations.json" in text
    assert "photo-002.png" in text


def test_a_format_that_no_trainer_reads_is_converted(workspace: Workspace, tmp_path: Path) -> None:
    """A TIFF is learnt from as the workspace would store it."""
    coco = write_coco_set(tmp_path / "set", 2)
    picture = coco.parent / "images" / "photo-001.png"
    with Image.open(picture) as image:
        ImageOps.exif_transpose(image).save(picture.with_suffix(".tiff"))
    data = json.loads(coco.read_text())
    data["images"][0]["file_name"] = "photo-001.tiff"
    coco.write_text(json.dumps(data))
    images = labelled_files(workspace, [coco], Silent())
    assert images[0].image.path.suffix == ".png"
    assert images[0].image.id == file_sha256(picture.with_suffix(".tiff"))
