"""Corrupted copies of a set: the same boxes, changed pixels, and more so at a higher level."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from support.factories import CLASSES, write_coco_set

from al_loop.cli import cli
from al_loop.core.errors import ConfigError, DataError
from al_loop.images.coco import read_coco
from al_loop.images.corruptions import CORRUPTIONS, LEVELS, corrupt, write_corrupted


def photo() -> np.ndarray:  # type: ignore[type-arg]
    blocks = np.random.default_rng(5).integers(40, 200, (12, 16, 3))
    return np.kron(blocks, np.ones((20, 20, 1))).astype(np.uint8)


@pytest.mark.parametrize("kind", list(CORRUPTIONS))
def test_a_higher_level_differs_more(kind: str) -> None:
    differences = [
        float(abs(corrupt(photo(), kind, level, np.random.default_rng(0)).astype(float) - photo()).mean())
        for level in LEVELS
    ]
    assert differences == sorted(differences)
    assert 0.5 < differences[0] < differences[-1]


def test_blur_keeps_the_light_and_noise_the_mean() -> None:
    for kind in ("blur", "noise"):
        changed = corrupt(photo(), kind, 2, np.random.default_rng(0))
        assert changed.mean() == pytest.approx(photo().mean(), abs=2)
    assert cv2.Laplacian(corrupt(photo(), "blur", 3, np.random.default_rng(0)), cv2.CV_64F).var() < 0.3 * (
        cv2.Laplacian(photo(), cv2.CV_64F).var()
    )


def test_sets_keep_their_boxes(tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 3)
    files = write_corrupted(coco, tmp_path / "out", ["noise", "darker"], 3)
    before, after = json.loads(coco.read_text()), json.loads(files["noise"].read_text())
    assert after["annotations"] == before["annotations"]
    assert after["categories"] == before["categories"]
    assert len(list((tmp_path / "out" / "noise-3" / "images").iterdir())) == 3
    again = write_corrupted(coco, tmp_path / "again", ["noise"], 3)
    one, two = ((files["noise"].parent / "images").iterdir(), (again["noise"].parent / "images").iterdir())
    assert sorted(p.read_bytes() for p in one) == sorted(p.read_bytes() for p in two)


def test_what_cannot_be_corrupted(tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 1)
    with pytest.raises(ConfigError, match=r"expected kinds of blur, .* got fog at 3"):
        write_corrupted(coco, tmp_path / "out", ["fog"], 3)
    with pytest.raises(ConfigError, match="a level of 1 to 5"):
        write_corrupted(coco, tmp_path / "out", ["blur"], 6)
    with pytest.raises(DataError, match="expected a COCO JSON file"):
        write_corrupted(tmp_path / "none.json", tmp_path / "out", ["blur"], 1)
    for path in (coco.parent / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="lists no image that exists"):
        write_corrupted(coco, tmp_path / "out", ["blur"], 1)


def test_a_damaged_picture_is_named_and_left_out(tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 3)
    (coco.parent / "images" / "photo-002.png").write_bytes(b"no picture")
    lines: list[str] = []
    files = write_corrupted(coco, tmp_path / "out", ["noise", "darker"], 3, on_report=lines.append)
    for path in files.values():
        coco_set = read_coco(path, CLASSES)
        assert [image.path.name for image in coco_set.images] == [
            "000000-photo-001.png",
            "000002-photo-003.png",
        ]
        before = [image.boxes.xyxy.tolist() for image in read_coco(coco, CLASSES).images]
        assert [image.boxes.xyxy.tolist() for image in coco_set.images] == [before[0], before[2]]
        assert coco_set.problems == []
    assert lines[0] == "coco.json: 3 images, 6 boxes, 0 images empty"
    assert len(lines) == 2
    assert "image photo-002.png: is not an image (JPEG, PNG, WebP, BMP or TIFF): left out" in lines[1]
    for picture in (coco.parent / "images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)3 × is empty: left out.*lists no readable image"):
        write_corrupted(coco, tmp_path / "none", ["noise"], 3)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 1)
    name = os.fsdecode(b"weld \xff.png")
    (coco.parent / "images" / "photo-001.png").rename(coco.parent / "images" / name)
    coco.write_text(coco.read_text().replace("photo-001.png", "weld \\udcff.png"))
    files = write_corrupted(coco, tmp_path / "out", ["noise"], 3)
    [image] = read_coco(files["noise"], CLASSES).images
    assert image.path.name == f"000000-{name}"


def test_the_command(tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "set", 2)
    result = CliRunner().invoke(cli, ["corrupt", str(coco), "--level", "2", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*/coco.json"))) == len(CORRUPTIONS)
    assert "--test blur-2=" in result.output


def test_copies_hold_what_was_read_and_no_more(tmp_path: Path) -> None:
    """Joined entries, upright boxes, ignore regions; no image of which nothing could be read."""
    coco = write_coco_set(tmp_path / "set", 3)
    data = json.loads(coco.read_text())
    one, two = data["annotations"][:2]
    data["images"].append({**data["images"][0], "id": 9})
    two["image_id"] = 9
    two["iscrowd"] = 1
    one |= {"bbox": [20, 20, 22, 12], "attributes": {"rotation": 90, "occluded": True}, "score": 0.5}
    for annotation in data["annotations"][2:4]:
        annotation["bbox"] = None
    data["categories"][0]["supercategory"] = "part"
    coco.write_text(json.dumps(data))
    lines: list[str] = []
    file = write_corrupted(coco, tmp_path / "out", ["blur"], 1, on_report=lines.append)["blur"]
    after = json.loads(file.read_text())
    assert [image["id"] for image in after["images"]] == [1, 2]
    assert [a["image_id"] for a in after["annotations"]] == [1, 1, 2, 2]
    assert after["annotations"][0] == {
        **{"id": 1, "image_id": 1, "category_id": 1, "bbox": [25, 15, 12, 22], "area": 264.0, "iscrowd": 0},
        **{"attributes": {"occluded": True}, "score": 0.5},
    }
    assert after["annotations"][1] == {**two, "image_id": 1}
    assert len(lines) == 2
    assert lines[1].startswith("5 problems in coco.json:\n")
    again = read_coco(file, CLASSES)
    assert again.problems == []
    assert [(len(image.boxes), len(image.ignored)) for image in again.images] == [(1, 1), (2, 0)]


def test_the_old_name_of_the_command_is_refused_with_the_new_one() -> None:
    result = CliRunner().invoke(cli, ["shift", "coco.json", "--out", "out"])
    assert result.exit_code == 2
    assert "`al-loop shift` was renamed: type `al-loop corrupt`" in result.output
