"""The one reader of COCO files, on what other tools write: what is joined, converted, ignored and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import CLASSES, draw

from al_loop.coco import CocoSet, listed, read_coco, summarise
from al_loop.errors import DataError

Data = dict[str, Any]


def coco(**changed: Any) -> Data:
    """Two photographs of 96x64 px, a bolt and a nut in each."""
    images = [
        {"id": i, "file_name": f"{name}.png", "width": 96, "height": 64} for i, name in ((1, "a"), (2, "b"))
    ]
    boxes = [
        (1, 1, [10, 10, 22, 12]),
        (1, 2, [60, 20, 12, 22]),
        (2, 1, [5, 30, 22, 12]),
        (2, 2, [70, 8, 12, 22]),
    ]
    annotations = [
        {"id": n, "image_id": image, "category_id": category, "bbox": bbox, "iscrowd": 0}
        for n, (image, category, bbox) in enumerate(boxes, start=1)
    ]
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    return {"images": images, "annotations": annotations, "categories": categories, **changed}


def written(folder: Path, data: object, *names: str, file: str = "coco.json") -> Path:
    """Write the COCO file, and pictures of 96x64 px under the names."""
    for number, name in enumerate(names or ("a.png", "b.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        draw(96, 64, [], number).save(folder / name)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def boxes(found: CocoSet) -> dict[str, list[list[float]]]:
    """Boxes by the name of the file, xyxy px."""
    return {image.path.name: image.boxes.xyxy.tolist() for image in found.images}


A = [[10.0, 10.0, 32.0, 22.0], [60.0, 20.0, 72.0, 42.0]]
B = [[5.0, 30.0, 27.0, 42.0], [70.0, 8.0, 82.0, 30.0]]


def edited(change: Callable[[Data], object]) -> Data:
    data = coco()
    change(data)
    return data


def test_what_is_right_is_taken_as_it_stands(tmp_path: Path) -> None:
    found = read_coco(written(tmp_path, coco()), CLASSES)
    assert (boxes(found), found.problems) == ({"a.png": A, "b.png": B}, [])
    assert [image.boxes.labels.tolist() for image in found.images] == [[0, 1], [0, 1]]


def test_entries_of_one_file_are_joined(tmp_path: Path) -> None:
    """One entry per box, under three spellings of one name, and a last one without boxes."""
    data = coco()
    size = {"width": 96, "height": 64}
    data["images"] += [{"id": 3, "file_name": "./a.png", **size}, {"id": 4, "file_name": "A.PNG", **size}]
    data["annotations"][1]["image_id"] = 3
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert summarise(found.problems).splitlines()[1:] == [
        "  image 'a.png': 3 entries name this file: joined, with the boxes of all",
        "  image 'A.PNG': found as a.png",
    ]


def test_joined_entries_that_each_list_all_boxes_do_not_double_them(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({**data["images"][0], "id": 3})
    data["annotations"] += [{**a, "image_id": 3} for a in data["annotations"][:2]]
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found)["a.png"] == A
    assert "2 × is the same as one before, in box, category and image: kept once" in summarise(found.problems)


def test_entries_of_one_file_with_different_sizes_leave_it_out(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({"id": 3, "file_name": "a.png", "width": 64, "height": 96})
    found = read_coco(written(tmp_path, data), CLASSES)
    assert list(boxes(found)) == ["b.png"]
    assert found.problems == ["image 'a.png': its 2 entries state 96x64 and 64x96 px: left out"]


def test_two_images_with_one_id_never_get_each_others_boxes(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({"id": 1, "file_name": "c.png", "width": 96, "height": 64})
    found = read_coco(written(tmp_path, data, "a.png", "b.png", "c.png"), CLASSES)
    assert boxes(found) == {"b.png": B}
    assert found.problems == [
        "images 'a.png' and 'c.png': have the same id 1: whose boxes are whose cannot be told; left out"
    ]


@pytest.mark.parametrize("flag", [1, True, "1", 1.0])
@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_crowds_are_regions_to_ignore_and_no_objects(tmp_path: Path, key: str, flag: object) -> None:
    data = coco()
    crowd = {"id": 9, "image_id": 1, "category_id": 1, "bbox": [0, 0, 96, 64], key: flag}
    crowd["segmentation"] = {"size": [64, 96], "counts": [0, 6144]}
    data["annotations"].append(crowd)
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert [image.ignored.xyxy.tolist() for image in found.images] == [[[0.0, 0.0, 96.0, 64.0]], []]
    assert found.images[0].ignored.labels.tolist() == [0]


def test_problems_of_one_kind_are_counted_together(tmp_path: Path) -> None:
    found = read_coco(written(tmp_path, edited(lambda d: d["categories"][0].update(name="Bolt"))), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B[1:]}
    assert listed(found.problems, tmp_path / "coco.json").splitlines() == [
        "2 problems in coco.json:",
        "  2 × category 'Bolt' is none of bolt, nut; did you mean 'bolt'? Rename it in the file or in the workspace",
        "      annotation number 1 of a.png",
        "      annotation number 3 of b.png",
    ]
    with pytest.raises(DataError, match="no such file"):
        read_coco(tmp_path / "none.json", CLASSES)
