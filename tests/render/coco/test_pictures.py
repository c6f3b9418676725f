"""The list `images`: entries that are joined, sizes, ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.coco_files import A, B, coco, edited, read, written
from support.factories import draw

from render.coco import summarise


def test_entries_of_one_file_are_joined(tmp_path: Path) -> None:
    """One entry per box, under three spellings of one name, and a last one without boxes."""
    data = coco()
    size = {"width": 96, "height": 64}
    data["images"] += [{"id": 3, "file_name": "./a.png", **size}, {"id": 4, "file_name": "A.PNG", **size}]
    data["annotations"][1]["image_id"] = 3
    found = read(written(tmp_path, data))
    assert found.boxes == {"a.png": A, "b.png": B}
    assert summarise(found.problems).splitlines()[1:] == [
        "  image 'a.png': 3 entries name this file: joined, with the boxes of all",
        "  image 'A.PNG': found as a.png",
    ]


def test_entries_of_one_file_with_different_sizes_leave_it_out(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({"id": 3, "file_name": "a.png", "width": 64, "height": 96})
    found = read(written(tmp_path, data))
    assert list(found.boxes) == ["b.png"]
    assert found.problems == ["image 'a.png': its 2 entries state 96x64 and 64x96 px: left out"]


def test_two_images_with_one_id_never_get_each_others_boxes(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({"id": 1, "file_name": "c.png", "width": 96, "height": 64})
    found = read(written(tmp_path, data, "a.png", "b.png", "c.png"))
    assert found.boxes == {"b.png": B}
    assert found.problems == [
        "images 'a.png' and 'c.png': have the same id 1: whose boxes are whose cannot be told; left out"
    ]


@pytest.mark.parametrize("width", [None, 0, "absent"])
def test_a_missing_size_is_that_of_the_file(tmp_path: Path, width: object) -> None:
    data = coco()
    if width == "absent":
        del data["images"][0]["width"]
    else:
        data["images"][0]["width"] = width
    found = read(written(tmp_path, data))
    assert [(picture.width, picture.height) for picture in found.data.pictures] == [(96, 64)] * 2
    assert found.problems == ["image 'a.png': states no size: 96x64 px, as its file has, are taken"]


@pytest.mark.parametrize("width", [-96, 96.5, "wide", True, float("nan"), [96], 10**30])
def test_a_size_that_is_none_leaves_out_that_image_alone(tmp_path: Path, width: object) -> None:
    found = read(written(tmp_path, edited(lambda d: d["images"][0].update(width=width))))
    assert found.boxes == {"b.png": B}
    assert "width and height must be whole numbers of px above 0" in found.problems[0]


def test_a_missing_size_of_a_turned_or_damaged_file_is_not_guessed(tmp_path: Path) -> None:
    from PIL import Image

    data = coco()
    data["images"] = [{"id": i, "file_name": name} for i, name in ((1, "a.jpg"), (2, "b.png"), (3, "c.png"))]
    path = written(tmp_path, data)
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(96, 64, []).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = read(path)
    assert found.boxes == {"b.png": B}
    assert found.problems[0].startswith("image 'a.jpg': states no size, and an EXIF tag turns its file")
    assert "image 'c.png': states no size, and its file's cannot be read" in found.problems[2]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    data = coco()
    bad = ["x" * 300 + ".png", "nul\0.png", "..", "/", "\ud800.png", "a\nb.png", 5, None, "", ["a.png"]]
    data["images"] += [
        {"id": number, "file_name": name, "width": 96, "height": 64}
        for number, name in enumerate(bad, start=10)
    ]
    data["images"] += [7, None, "a.png", {}]
    found = read(written(tmp_path, data))
    assert found.boxes == {"a.png": A, "b.png": B}
    assert all(problem.isprintable() for problem in found.problems)
    assert len(found.problems) == len(bad) + 4
    assert max(map(len, found.problems)) <= 400
