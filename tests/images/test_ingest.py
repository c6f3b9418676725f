"""Photographs and COCO sets on their way in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.factories import CLASSES, draw, edited, picture_bytes, write_coco_set
from support.pool_images import add_images

from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.images.ingest import prepare_image
from al_loop.images.validation_sets import add_validation
from al_loop.state.database.image_table import pool_size
from al_loop.state.workspace import Workspace


def test_stored_by_hash_and_once(workspace: Workspace, tmp_path: Path) -> None:
    first, copy = tmp_path / "a b.png", tmp_path / "copy of ä.png"
    first.write_bytes(picture_bytes(1))
    copy.write_bytes(picture_bytes(1))
    report = add_images(workspace, [first, copy])
    assert report.added == [hashlib.sha256(picture_bytes(1)).hexdigest()]
    assert report.duplicates == 1
    again = add_images(workspace, [first])
    assert (again.added, again.duplicates) == ([], 1)
    [image] = repository.unlabelled(workspace)
    assert image.path.read_bytes() == picture_bytes(1)
    assert (image.width, image.height) == (96, 64)


def test_orientation_is_applied_once(workspace: Workspace, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = tmp_path / "phone.jpg"
    draw(80, 40, [[0, 0, 20, 20]]).save(path, exif=exif, quality=95)
    add_images(workspace, [path])
    [image] = repository.unlabelled(workspace)
    assert (image.width, image.height) == (40, 80)
    with Image.open(image.path) as stored:
        assert stored.size == (40, 80)
        assert stored.getexif().get(0x0112, 1) == 1
        # What was at the top left is at the top right now.
        assert stored.getpixel((35, 5))[0] > 180
        assert stored.getpixel((5, 5))[0] < 120
    assert add_images(workspace, [path]).duplicates == 1


def test_the_bad_is_refused_by_name_and_the_good_goes_in(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        name: tmp_path / name
        for name in ("good.png", "cut.png", "text.jpg", "huge.png", "none.png", "big.png")
    }
    files["good.png"].write_bytes(picture_bytes(1))
    files["cut.png"].write_bytes(picture_bytes(2)[:-2000])
    files["text.jpg"].write_text("hello")
    files["none.png"].symlink_to("nowhere.png")
    files["huge.png"].write_bytes(picture_bytes(3, (400, 300)))
    files["big.png"].write_bytes(picture_bytes(4, (64, 64)) + b"\0" * 300_000)
    monkeypatch.setattr("al_loop.images.ingest.MAX_PIXELS", 400 * 300 - 1)
    monkeypatch.setattr("al_loop.images.ingest.MAX_BYTES", 300_000)
    report = add_images(workspace, list(files.values()))
    refused = {Path(where).name: reason for where, reason in report.refused}
    assert len(report.added) == 1
    assert set(refused) == set(files) - {"good.png"}
    assert "cut short" in refused["cut.png"]
    assert "not an image" in refused["text.jpg"]
    assert "400x300 px" in refused["huge.png"]
    assert "No such file" in refused["none.png"]
    assert "MiB" in refused["big.png"]
    assert pool_size(workspace.store) == 1


def test_a_format_that_browsers_do_not_show_is_stored_as_png(tmp_path: Path) -> None:
    draw(20, 10, []).save(tmp_path / "a.tiff")
    upright = prepare_image(tmp_path / "a.tiff")
    assert upright.suffix == ".png"
    assert upright.data.startswith(b"\x89PNG")


def test_validation_set_leaves_the_pool(workspace: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "val", 4)
    add_images(workspace, list((tmp_path / "val" / "images").iterdir()))
    report = add_validation(workspace, coco)
    assert (report.moved, report.problems) == (4, [])
    assert repository.unlabelled(workspace) == []
    validation = repository.validation(workspace)
    assert len(validation) == 4
    truth = read_coco(coco, CLASSES).images
    by_id = {item.image.id: item.boxes for item in validation}
    for item in truth:
        stored = by_id[hashlib.sha256(item.path.read_bytes()).hexdigest()]
        assert stored.xyxy.tolist() == item.boxes.xyxy.tolist()
        assert stored.labels.tolist() == item.boxes.labels.tolist()
    # A photograph of the validation set that comes again stays out of the pool.
    assert add_images(workspace, [truth[0].path]).duplicates == 1
    assert repository.unlabelled(workspace) == []


def test_validation_without_a_class_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "val", 3, classes=("bolt",))
    with pytest.raises(DataError, match=r"has no box of nut \(it has bolt\)"):
        add_validation(workspace, coco)
    assert workspace.store.count("SELECT count(*) FROM images") == 0


def test_no_validation_set(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="al-loop pool add-val"):
        repository.validation(workspace)


def test_coco_problems_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        boxes = data["annotations"]
        boxes[0]["bbox"] = [500.0, 10.0, 20.0, 20.0]  # outside the 96x64 image
        boxes[1]["bbox"] = [10.0, 10.0, 0.0, 20.0]  # no area
        boxes[2]["category_id"] = 77
        boxes[3]["bbox"] = [80.0, 50.0, 40.0, 40.0]  # sticks out
        boxes[4]["bbox"] = [1.0, 2.0, None, 3.0]
        boxes[5]["image_id"] = 99
        data["images"][3]["file_name"] = "lost.png"

    coco_set = read_coco(edited(write_coco_set(tmp_path, 4), "coco.json", spoil), CLASSES)
    text = "\n".join(coco_set.problems)
    assert "annotation 1 of photo-001.png: box [500.0, 10.0, 20.0, 20.0] lies outside the 96x64 image" in text
    assert "annotation 2 of photo-001.png" in text
    assert "has no area" in text
    assert "annotation 3 of photo-002.png: category_id 77 is none of 1 (bolt), 2 (nut)" in text
    assert "annotation 4 of photo-002.png" in text
    assert "clipped" in text
    assert "annotation 5 of photo-003.png: bbox must be four finite numbers" in text
    assert "annotation 6: image_id 99 is not in images" in text
    assert "'lost.png': no such file" in text
    # Of photographs 1 and 3 no annotation is left: they are not empty.
    assert "image 'photo-001.png': none of its annotations can be used: left out" in text
    assert "image 'photo-003.png': none of its annotations can be used: left out" in text
    assert [image.path.name for image in coco_set.images] == ["photo-002.png"]
    assert coco_set.images[0].boxes.xyxy.tolist() == [[80.0, 50.0, 96.0, 64.0]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected the lists images"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "needs id, file_name, width"),
    ],
)
def test_what_is_not_coco(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=says):
        read_coco(tmp_path / "x.json", CLASSES)


def test_a_size_that_does_not_fit_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    def shrink(data: dict[str, Any]) -> None:
        data["images"][0]["width"] = 90

    report = add_validation(workspace, edited(write_coco_set(tmp_path / "val", 3), "coco.json", shrink))
    [(where, reason)] = report.refused
    assert Path(where).name == "photo-001.png"
    assert "is 96x64 px upright, coco.json says 90x64" in reason
    assert len(repository.validation(workspace)) == 2
