"""The one reader of COCO files, on what other tools write: what is joined, converted, ignored and refused."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.factories import CLASSES, draw

from al_loop.core.errors import DataError
from al_loop.images.coco import CocoSet, Problem, listed, read_coco, summarise

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


def test_a_file_that_was_merged_with_itself_does_not_double_boxes(tmp_path: Path) -> None:
    data = coco()
    found = read_coco(written(tmp_path, {key: rows * 2 for key, rows in data.items()}), CLASSES)
    assert boxes(found) == {"a.png": A, "b.png": B}
    # Two equal boxes of one entry, each with an id, are what the file says.
    data["annotations"].append({**data["annotations"][0], "id": 99})
    found = read_coco(written(tmp_path, data), CLASSES)
    assert (boxes(found), found.problems) == ({"a.png": [*A, A[0]], "b.png": B}, [])


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
    assert listed(found.problems, "coco.json").splitlines() == [
        "2 problems in coco.json:",
        "  2 × category 'Bolt' is none of bolt, nut; did you mean 'bolt'? "
        "Rename it in the file or in the workspace",
        "      annotation number 1 of a.png",
        "      annotation number 3 of b.png",
    ]
    with pytest.raises(DataError, match="no such file"):
        read_coco(tmp_path / "none.json", CLASSES)


@pytest.mark.parametrize(
    ("bbox", "says"),
    [
        (["a", 2, 3, 4], "must be four finite numbers [x, y, width, height], got ['a', 2, 3, 4]"),
        (None, "must be four finite numbers [x, y, width, height], got None"),
        ([[1, 2, 3, 4]], "must be four finite numbers"),
        ([1, 2, 3], "must be four finite numbers"),
        ([1, 2, 3, 4, 5], "must be four finite numbers"),
        ({"x": 1}, "must be four finite numbers"),
        ([1, 2, True, 4], "must be four finite numbers"),
        ([1, 2, float("nan"), 4], "must be four finite numbers"),
        ([1, 2, float("inf"), 4], "must be four finite numbers"),
        ([10**400, 2, 3, 4], "must be four finite numbers"),
        ([10, 10, 0, 5], "has no area"),
        ([10, 10, 5, -5], "has no area"),
        ([97, 10, 5, 5], "lies outside the 96x64 image"),
        ([0.1, 0.2, 0.3, 0.4], "is in fractions of the 96x64 image: expected px"),
    ],
)
def test_a_box_that_is_none_is_named_and_the_rest_stays(tmp_path: Path, bbox: object, says: str) -> None:
    found = read_coco(written(tmp_path, edited(lambda d: d["annotations"][0].update(bbox=bbox))), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    assert len(found.problems) == 1
    assert found.problems[0].startswith("annotation 1 of a.png: ")
    assert says in found.problems[0]


@pytest.mark.parametrize(
    ("bbox", "says"),
    [
        ([95.99, 5, 10, 10], "box lies outside its image"),
        ([-10, 5, 10.01, 5], "box lies outside its image"),
        ([50, 5, 0.01, 9], "box has no area"),
    ],
)
def test_what_is_left_of_a_box_by_rounding_is_no_object(tmp_path: Path, bbox: object, says: str) -> None:
    found = read_coco(written(tmp_path, edited(lambda d: d["annotations"][0].update(bbox=bbox))), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    assert [problem.kind for problem in found.problems if isinstance(problem, Problem)] == [says]


def test_a_category_by_its_name_says_which_ids_there_are(tmp_path: Path) -> None:
    found = read_coco(
        written(tmp_path, edited(lambda d: d["annotations"][0].update(category_id="bolt"))), CLASSES
    )
    assert found.problems == ["annotation 1 of a.png: category_id 'bolt' is none of 1 (bolt), 2 (nut)"]


def test_numbers_that_are_written_as_text_are_numbers(tmp_path: Path) -> None:
    data = coco()
    data["annotations"][0]["bbox"] = ["10", "1e1", " 22.0", "12"]
    data["images"][0] |= {"width": "96", "height": 64.0}
    found = read_coco(written(tmp_path, data), CLASSES)
    assert (boxes(found), found.problems) == ({"a.png": A, "b.png": B}, [])


def test_an_image_whose_annotations_were_all_refused_is_not_empty(tmp_path: Path) -> None:
    data = coco()
    for annotation in data["annotations"][:2]:
        annotation["bbox"] = None
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"b.png": B}
    assert found.problems[-1] == "image 'a.png': none of its annotations can be used: left out"
    data["annotations"] = data["annotations"][2:]
    assert boxes(read_coco(written(tmp_path, data), CLASSES)) == {"a.png": [], "b.png": B}


def test_an_image_with_none_of_our_classes_is_left_out(tmp_path: Path) -> None:
    data = edited(lambda d: d["categories"].append({"id": 3, "name": "washer"}))
    for annotation in data["annotations"][:2]:
        annotation["category_id"] = 3
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"b.png": B}
    assert found.problems == [
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
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    assert ["did you mean" in problem for problem in found.problems] == [bool(near)]
    assert not near or f"did you mean {near!r}?" in found.problems[0]
    assert found.images[0].ignored.xyxy.tolist() == (A[:1] if surely else [])
    assert found.images[0].ignored.labels.tolist() == ([CLASSES.index(near)] if surely else [])
    # An image of nothing else is no image to learn from.
    data["annotations"][1]["category_id"] = 3
    assert boxes(read_coco(written(tmp_path, data), CLASSES)) == {"b.png": B}


def test_the_form_of_an_accent_is_a_near_miss(tmp_path: Path) -> None:
    """NFD in the file, NFC in the workspace: they look alike and are not the same."""
    data = edited(lambda d: d["categories"][0].update(name="e\u0301crou"))
    found = read_coco(written(tmp_path, data), ("\u00e9crou", "nut"))
    assert boxes(found)["a.png"] == A[1:]
    assert "did you mean '\u00e9crou'?" in found.problems[0]


@pytest.mark.parametrize(
    ("rotation", "hull"),
    [
        (0, [10, 10, 32, 22]),
        (180.0, [10, 10, 32, 22]),
        # 22x12 about (21, 16): 12x22.
        (90, [15, 5, 27, 27]),
        (-270, [15, 5, 27, 27]),
        # By 30 degrees: width 22 cos + 12 sin = 25.0526, height 22 sin + 12 cos = 21.3923.
        (30, [21 - 12.526279, 16 - 10.696152, 21 + 12.526279, 16 + 10.696152]),
        ("330", [21 - 12.526279, 16 - 10.696152, 21 + 12.526279, 16 + 10.696152]),
    ],
)
def test_rotated_boxes_become_the_upright_box_around_them(
    tmp_path: Path, rotation: object, hull: list[float]
) -> None:
    attributes = {"occluded": False, "rotation": rotation}
    data = edited(lambda d: d["annotations"][0].update(attributes=attributes))
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found)["a.png"][0] == pytest.approx(hull, abs=1e-5)
    assert len(found.problems) == (rotation not in (0, 180.0))


def test_corners_instead_of_width_and_height_are_refused_where_all_are(tmp_path: Path) -> None:
    data = coco()
    for annotation, xyxy in zip(data["annotations"], A + B, strict=True):
        annotation["bbox"] = xyxy
    found = read_coco(written(tmp_path, data), CLASSES)
    assert found.images == []
    assert found.problems[0] == (
        "all annotations: the 4 boxes fit as corners [x1, y1, x2, y2], and 3 stick out far as "
        "[x, y, width, height]: left out. Write width and height, as COCO has them"
    )
    # Large objects whose boxes stick out by a few px are no corners.
    data = coco()
    for annotation in data["annotations"]:
        annotation["bbox"] = [4, 3, 95, 64]
        annotation["category_id"] = annotation["id"] % 2 + 1
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"a.png": [[4, 3, 96, 64]] * 2, "b.png": [[4, 3, 96, 64]] * 2}
    assert "4 × box sticks out of its image; clipped; as corners" in summarise(found.problems)
    # One box alone may be large: it is clipped, and what it may be is said.
    data = edited(lambda d: d["annotations"][1].update(bbox=A[1]))
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found)["a.png"][1] == [60, 20, 96, 62]
    assert found.problems[0].endswith("clipped; as corners [x1, y1, x2, y2] it would fit")


@pytest.mark.parametrize("bad", [[1], {"a": 1}, None, True, "", 1.5])
def test_ids_that_are_none_leave_out_what_they_belong_to(tmp_path: Path, bad: object) -> None:
    found = read_coco(written(tmp_path, edited(lambda d: d["images"][0].update(id=bad))), CLASSES)
    assert boxes(found) == {"b.png": B}
    found = read_coco(written(tmp_path, edited(lambda d: d["annotations"][0].update(image_id=bad))), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    found = read_coco(
        written(tmp_path, edited(lambda d: d["annotations"][0].update(category_id=bad))), CLASSES
    )
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    found = read_coco(written(tmp_path, edited(lambda d: d["categories"][0].update(id=bad))), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B[1:]}


@pytest.mark.parametrize("other", ["1", 1.0, "1.0"])
def test_ids_of_another_type_are_matched_and_named(tmp_path: Path, other: object) -> None:
    found = read_coco(
        written(tmp_path, edited(lambda d: d["annotations"][0].update(image_id=other))), CLASSES
    )
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert found.problems == [
        "annotation 1 of a.png: image_id and the image's id are written otherwise (1, 1.0, '1'): matched"
    ]


def test_categories_with_one_id_or_one_name(tmp_path: Path) -> None:
    same_name = edited(lambda d: d["categories"].append({"id": 7, "name": "bolt"}))
    same_name["annotations"][0]["category_id"] = 7
    found = read_coco(written(tmp_path, same_name), CLASSES)
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert found.problems == ["category 'bolt': has the ids 1 and 7: joined"]
    same_id = edited(lambda d: d["categories"].append({"id": 1, "name": "washer"}))
    found = read_coco(written(tmp_path, same_id), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B[1:]}
    assert (
        found.problems[0] == "category 'washer': id 1 is that of 'bolt' too: the boxes of both are left out"
    )
    no_text = edited(lambda d: d["categories"][0].update(name=5))
    assert boxes(read_coco(written(tmp_path, no_text), CLASSES)) == {"a.png": A[1:], "b.png": B[1:]}


@pytest.mark.parametrize("width", [None, 0, "absent"])
def test_a_missing_size_is_that_of_the_file(tmp_path: Path, width: object) -> None:
    data = coco()
    if width == "absent":
        del data["images"][0]["width"]
    else:
        data["images"][0]["width"] = width
    found = read_coco(written(tmp_path, data), CLASSES)
    assert [(image.width, image.height) for image in found.images] == [(96, 64)] * 2
    assert found.problems == ["image 'a.png': states no size: 96x64 px, as its file has, are taken"]


@pytest.mark.parametrize("width", [-96, 96.5, "wide", True, float("nan"), [96], 10**30])
def test_a_size_that_is_none_leaves_out_that_image_alone(tmp_path: Path, width: object) -> None:
    found = read_coco(written(tmp_path, edited(lambda d: d["images"][0].update(width=width))), CLASSES)
    assert boxes(found) == {"b.png": B}
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
    found = read_coco(path, CLASSES)
    assert boxes(found) == {"b.png": B}
    assert found.problems[0].startswith("image 'a.jpg': states no size, and an EXIF tag turns its file")
    assert "image 'c.png': states no size, and its file's cannot be read" in found.problems[2]


@pytest.mark.parametrize(
    ("name", "there", "found_as"),
    [
        ("C:\\data\\line 3\\a.png", "images/a.png", "images/a.png"),
        ("images\\a.png", "images/a.png", "images/a.png"),
        ("/home/someone/export/images/a.png", "images/a.png", "images/a.png"),
        ("file:///D:/export/a.png", "a.png", "a.png"),
        ("https://host/bucket/a%20b.png?token=1", "a b.png", "a b.png"),
        ("s3://bucket/day/a.png", "day/a.png", "day/a.png"),
        ("a.png", "deep/below/a.png", "deep/below/a.png"),
        ("caf\u0065\u0301.png", "caf\u00e9.png", "caf\u00e9.png"),
        ("A.PNG", "images/a.png", "images/a.png"),
        ("1a2b-a%20b.png", "images/1a2b-a b.png", "images/1a2b-a b.png"),
        ("1a2b-a b.png", "images/1a2b-a%20b.png", "images/1a2b-a%20b.png"),
        ("a.png ", "a.png", "a.png"),
    ],
)
def test_files_are_found_by_the_tail_of_their_path(
    tmp_path: Path, name: str, there: str, found_as: str
) -> None:
    data = edited(lambda d: d["images"][0].update(file_name=name))
    found = read_coco(written(tmp_path, data, there, "b.png"), CLASSES)
    assert boxes(found) == {Path(there).name: A, "b.png": B}
    assert found.problems[0].endswith(f": found as {found_as}")


@pytest.mark.parametrize(
    ("there", "file"),
    [
        ("images/a.png", "annotations/instances_default.json"),
        ("images/default/a.png", "annotations/instances_default.json"),
        ("images/Train/a.png", "annotations/instances_Train.json"),
        ("val2017/a.png", "annotations/instances_val2017.json"),
    ],
)
def test_the_folders_of_cvat_and_coco(tmp_path: Path, there: str, file: str) -> None:
    """Of two subsets that have a picture of one name, the file's own counts."""
    other = "images/other/a.png" if "/default/" in there or "Train" in there else "val2014/b2.png"
    found = read_coco(
        written(tmp_path, coco(), there, there.replace("a.png", "b.png"), other, file=file), CLASSES
    )
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert f"'a.png': found as ../{there}" in summarise(found.problems) or found.problems[0].endswith(there)


def test_no_picture_is_taken_for_another(tmp_path: Path) -> None:
    """What fits twice, what another entry names, and what lies in another folder."""
    data = coco()
    names = ("C:\\x\\a.png", "C:\\x\\b.png", "line-a/c.png", "day-1/d.png", "e.png")
    data["images"] = [
        {"id": number, "file_name": name, "width": 96, "height": 64}
        for number, name in enumerate(names, start=1)
    ] + [{"id": 9, "file_name": "other/b.png", "width": 96, "height": 64}]
    path = written(
        tmp_path, data, "images/a.png", "data/a.png", "other/b.png", "line-b/c.png", "e.png", "sub/e.png"
    )
    found = read_coco(path, CLASSES)
    assert sorted(str(image.path.relative_to(tmp_path)) for image in found.images) == ["e.png", "other/b.png"]
    assert (
        "'C:\\\\x\\\\a.png': no such file, and more than one that fits: data/a.png and images/a.png"
        in found.problems[0]
    )
    assert "line-a/c.png': no such file beside coco.json" in "\n".join(found.problems)


def test_a_picture_of_another_suffix_is_offered_and_not_taken(tmp_path: Path) -> None:
    data = coco()
    data["images"][0]["file_name"] = "a.jpg"
    path = written(tmp_path, data, "images/a.png", "b.png")
    (tmp_path / "images" / "a.json").write_text("{}")
    found = read_coco(path, CLASSES)
    assert boxes(found) == {"b.png": B}
    assert found.problems == [
        "image 'a.jpg': no such file beside coco.json or in images/; images/a.png is: "
        "name it in coco.json if it shows the same"
    ]
    data["images"].append({"id": 3, "file_name": "a.png", "width": 96, "height": 64})
    found = read_coco(written(tmp_path, data, "images/a.png", "b.png"), CLASSES)
    assert found.problems == ["image 'a.jpg': no such file beside coco.json or in images/"]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    data = coco()
    bad = ["x" * 300 + ".png", "nul\0.png", "..", "/", "\ud800.png", "a\nb.png", 5, None, "", ["a.png"]]
    data["images"] += [
        {"id": number, "file_name": name, "width": 96, "height": 64}
        for number, name in enumerate(bad, start=10)
    ]
    data["images"] += [7, None, "a.png", {}]
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert all(problem.isprintable() for problem in found.problems)
    assert len(found.problems) == len(bad) + 4
    assert max(map(len, found.problems)) <= 400


def test_special_files_are_no_pictures(tmp_path: Path) -> None:
    path = written(tmp_path, coco(), "b.png")
    os.mkfifo(tmp_path / "a.png")
    assert boxes(read_coco(path, CLASSES)) == {"b.png": B}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (json.dumps(coco()).encode() + b" trailing", "not valid JSON"),
        (b'{"images": [], "annotations": "none", "categories": []}', "no list of annotations"),
        (b'[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "expected a COCO object, got a list"),
        (b"null", "expected a COCO object, got a NoneType"),
        (b'{"images": [], "annotations": [], "categories": [], "images": [1]}', "has images twice"),
        ('{"images": "caf\u00e9"}'.encode("latin-1"), "neither UTF-8 nor UTF-16"),
        (b'{"images": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"images": [1, null, {"id": 1}], "annotations": [], "categories": []}', "not one of its 3 images"),
    ],
)
def test_what_is_no_coco_file_is_one_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "coco.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_coco(path, CLASSES)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_any_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, {})
    path.write_bytes(json.dumps(coco()).encode(encoding))
    assert boxes(read_coco(path, CLASSES)) == {"a.png": A, "b.png": B}


def test_one_number_of_thousands_of_digits_loses_its_own_box_only(tmp_path: Path) -> None:
    path = written(tmp_path, coco())
    path.write_text(path.read_text().replace("[10, 10, 22, 12]", f"[1{'0' * 5000}, 10, 22, 12]"))
    found = read_coco(path, CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    assert len(found.problems) == 1


def test_a_key_that_stands_there_twice_is_no_value(tmp_path: Path) -> None:
    path = written(tmp_path, coco())
    path.write_text(
        path.read_text().replace('"bbox": [10, 10, 22, 12]', '"bbox": [1, 1, 2, 2], "bbox": [10, 10, 22, 12]')
    )
    found = read_coco(path, CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    assert found.problems == ["annotation 1 of a.png: has bbox twice, with different values"]


def test_crowds_that_say_neither_yes_nor_no_are_refused(tmp_path: Path) -> None:
    found = read_coco(written(tmp_path, edited(lambda d: d["annotations"][0].update(iscrowd=2))), CLASSES)
    assert boxes(found) == {"a.png": A[1:], "b.png": B}
    assert "iscrowd and ignore must be 0 or 1, got 2 and None" in found.problems[0]


@pytest.mark.parametrize(
    "segmentation",
    [
        "word",
        5,
        [[1, 2]],
        [[1, 2, 3, 4, 5, "x"]],
        [1, 2, 3, 4, 5, 6],
        {"size": [10**9, 10**9], "counts": "04"},
        {"a": 1},
    ],
)
def test_an_outline_that_is_none_leaves_the_box(tmp_path: Path, segmentation: object) -> None:
    data = edited(lambda d: d["annotations"][0].update(segmentation=segmentation))
    path = written(tmp_path, data)
    found = read_coco(path, CLASSES)
    assert boxes(found) == {"a.png": A, "b.png": B}
    assert found.problems[0].startswith("annotation 1 of a.png: its segmentation is left out, its box kept: ")


def test_a_file_of_crowds_alone_says_why_nothing_is_left(tmp_path: Path) -> None:
    """Some tools write iscrowd 1 everywhere."""
    data = coco()
    for annotation in data["annotations"]:
        annotation["iscrowd"] = 1
    found = read_coco(written(tmp_path, data), CLASSES)
    assert [len(image.ignored) for image in found.images] == [2, 2]
    assert found.problems == [
        "all annotations: are ignore regions (iscrowd or ignore is 1): no object is left"
    ]


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


@pytest.mark.parametrize(
    "lost",
    [None, *({"id": 1, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in (None, 99, "a.png"))],
)
def test_an_image_that_may_have_lost_its_annotations_is_not_empty(tmp_path: Path, lost: object) -> None:
    data = coco()
    data["annotations"] = [lost, *data["annotations"][2:]]
    found = read_coco(written(tmp_path, data), CLASSES)
    assert boxes(found) == {"b.png": B}
    assert found.problems[-1] == (
        "image 'a.png': has no annotation, but 1 of the file belong to none of its images: left out"
    )


def test_problems_travel_between_processes() -> None:
    problem = Problem("image 'a.png'", "is lost since 1970", "is lost")
    back = copy.deepcopy(problem)  # by the same way as pickle
    assert back is not problem
    assert (back, back.where, back.kind) == (problem, "image 'a.png'", "is lost")
    assert problem.of("b.json") == "b.json, image 'a.png': is lost since 1970"
    assert problem.of("b.json").kind == "is lost"
