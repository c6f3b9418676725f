"""COCO files by the classes of a workspace: names that are none of them, and names that nearly are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.coco_files import A, B, coco, edited, written
from support.factories import CLASSES

from al_loop.core.errors import DataError
from al_loop.images.coco import CocoSet, listed, read_coco, write_coco
from al_loop.structures.images import ImageFile, LabelledImage


def boxes(coco_set: CocoSet) -> dict[str, list[list[float]]]:
    """Boxes by the name of the file, xyxy px."""
    return {image.path.name: image.boxes.xyxy.tolist() for image in coco_set.images}


def test_what_is_right_is_taken_as_it_stands(tmp_path: Path) -> None:
    coco_set = read_coco(written(tmp_path, coco()), CLASSES)
    assert (boxes(coco_set), coco_set.problems) == ({"a.png": A, "b.png": B}, [])
    assert [image.boxes.labels.tolist() for image in coco_set.images] == [[0, 1], [0, 1]]


def test_problems_of_one_kind_are_counted_together(tmp_path: Path) -> None:
    coco_set = read_coco(written(tmp_path, edited(lambda d: d["categories"][0].update(name="Bolt"))), CLASSES)
    assert boxes(coco_set) == {"a.png": A[1:], "b.png": B[1:]}
    assert listed(coco_set.problems, "coco.json").splitlines() == [
        "2 problems in coco.json:",
        "  2 × category 'Bolt' is none of bolt, nut; did you mean 'bolt'? "
        "Rename it in the file or in the workspace",
        "      annotation number 1 of a.png",
        "      annotation number 3 of b.png",
    ]
    with pytest.raises(DataError, match="no such file"):
        read_coco(tmp_path / "none.json", CLASSES)


def test_an_image_with_none_of_our_classes_is_left_out(tmp_path: Path) -> None:
    data = edited(lambda d: d["categories"].append({"id": 3, "name": "washer"}))
    for annotation in data["annotations"][:2]:
        annotation["category_id"] = 3
    coco_set = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(coco_set) == {"b.png": B}
    assert coco_set.problems == [
        "annotation number 1 of a.png: category 'washer' is none of bolt, nut",
        "annotation number 2 of a.png: category 'washer' is none of bolt, nut",
        "image 'a.png': has boxes, but none of bolt, nut: left out",
    ]


@pytest.mark.parametrize(
    ("name", "near", "surely"),
    [
        ("Bolt", "bolt", True),
        (" bolt ", "bolt", True),
        ("NUT", "nut", True),
        ("bolts", "bolt", False),
        ("screw", "", False),
    ],
)
def test_a_near_miss_is_offered_and_never_taken(tmp_path: Path, name: str, near: str, surely: bool) -> None:
    """What is surely one of our objects is not background either; what is only like it may be another."""
    data = edited(lambda d: d["categories"].append({"id": 3, "name": name}))
    data["annotations"][0]["category_id"] = 3
    coco_set = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(coco_set) == {"a.png": A[1:], "b.png": B}
    assert ["did you mean" in problem for problem in coco_set.problems] == [bool(near)]
    assert not near or f"did you mean {near!r}?" in coco_set.problems[0]
    assert coco_set.images[0].ignored.xyxy.tolist() == (A[:1] if surely else [])
    assert coco_set.images[0].ignored.labels.tolist() == ([CLASSES.index(near)] if surely else [])
    # An image of nothing else is no image to learn from.
    data["annotations"][1]["category_id"] = 3
    assert boxes(read_coco(written(tmp_path, data), CLASSES)) == {"b.png": B}


def test_the_form_of_an_accent_is_a_near_miss(tmp_path: Path) -> None:
    """NFD in the file, NFC in the workspace: they look alike and are not the same."""
    data = edited(lambda d: d["categories"][0].update(name="e\u0301crou"))
    coco_set = read_coco(written(tmp_path, data), ("\u00e9crou", "nut"))
    assert boxes(coco_set)["a.png"] == A[1:]
    assert "did you mean '\u00e9crou'?" in coco_set.problems[0]


def test_reading_brings_nothing_heavy(tmp_path: Path) -> None:
    path = written(tmp_path, coco())
    code = (
        "import sys; from pathlib import Path; from al_loop.images.coco import read_coco\n"
        f"assert len(read_coco(Path({str(path)!r}), ('bolt', 'nut')).images) == 2\n"
        "print({'cv2', 'torch', 'matplotlib', 'scipy', 'mmdet'} "
        "& {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_outlines_that_can_be_used_are_read_on_request(tmp_path: Path) -> None:
    """A polygon of two parts, and run lengths; not a polygon without area, nor runs of another image."""
    runs = {"size": [64, 96], "counts": [64 * 10, 20, 64 * 96 - 660]}
    parts = [[1.0, 1, 5, 1, 5, 5], [6.0, 6, 9, 6, 9, 9]]
    outlines = [parts, runs, [[1.0, 1, 5, 5, 9, 9]], {"size": [64, 96], "counts": "zz"}]

    def draw(data: dict[str, Any]) -> None:
        for annotation, outline in zip(data["annotations"], outlines, strict=True):
            annotation["segmentation"] = outline

    file = written(tmp_path, edited(draw))
    first, second = read_coco(file, CLASSES, outlines=True).images
    assert first.boxes.outlines == (parts, runs)
    assert second.boxes.outlines is None
    assert read_coco(file, CLASSES).images[0].boxes.outlines is None
    image = ImageFile("a", first.path, 96, 64)
    write_coco(tmp_path / "again.json", [LabelledImage(image, first.boxes)], CLASSES)
    again = json.loads((tmp_path / "again.json").read_text())["annotations"]
    assert [(entry["segmentation"], entry["area"]) for entry in again] == [(parts, 8 + 4.5), (runs, 20)]
