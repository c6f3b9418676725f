"""The list `annotations`: boxes that are clipped, rotated, refused, ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.coco_files import A, B, coco, edited, read, written

from render.coco import Problem, summarise


def test_joined_entries_that_each_list_all_boxes_do_not_double_them(tmp_path: Path) -> None:
    data = coco()
    data["images"].append({**data["images"][0], "id": 3})
    data["annotations"] += [{**a, "image_id": 3} for a in data["annotations"][:2]]
    found = read(written(tmp_path, data))
    assert found.boxes["a.png"] == A
    assert "2 × is the same as one before, in box, category and image: kept once" in summarise(found.problems)


def test_a_file_that_was_merged_with_itself_does_not_double_boxes(tmp_path: Path) -> None:
    data = coco()
    found = read(written(tmp_path, {key: rows * 2 for key, rows in data.items()}))
    assert found.boxes == {"a.png": A, "b.png": B}
    # Two equal boxes of one entry, each with an id, are what the file says.
    data["annotations"].append({**data["annotations"][0], "id": 99})
    found = read(written(tmp_path, data))
    assert (found.boxes, found.problems) == ({"a.png": [*A, A[0]], "b.png": B}, [])


@pytest.mark.parametrize("flag", [1, True, "1", 1.0])
@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_crowds_are_regions_to_ignore_and_no_objects(tmp_path: Path, key: str, flag: object) -> None:
    data = coco()
    crowd = {"id": 9, "image_id": 1, "category_id": 1, "bbox": [0, 0, 96, 64], key: flag}
    crowd["segmentation"] = {"size": [64, 96], "counts": [0, 6144]}
    data["annotations"].append(crowd)
    found = read(written(tmp_path, data))
    assert found.boxes == {"a.png": A, "b.png": B}
    assert found.ignored == {"a.png": [[0.0, 0.0, 96.0, 64.0]], "b.png": []}
    assert found.data.ignored.category.tolist() == [0]


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
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(bbox=bbox))))
    assert found.boxes == {"a.png": A[1:], "b.png": B}
    assert len(found.problems) == 1
    assert found.problems[0].startswith("annotation 1 of a.png: ")
    assert says in found.problems[0]


@pytest.mark.parametrize(
    ("bbox", "says"),
    [
        ([95.99, 5, 10, 10], "box … lies outside the … image"),
        ([-10, 5, 10.01, 5], "box … lies outside the … image"),
        ([50, 5, 0.01, 9], "box … has no area"),
    ],
)
def test_what_is_left_of_a_box_by_rounding_is_no_object(tmp_path: Path, bbox: object, says: str) -> None:
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(bbox=bbox))))
    assert found.boxes == {"a.png": A[1:], "b.png": B}
    assert [problem.kind for problem in found.problems if isinstance(problem, Problem)] == [says]


def test_a_category_by_its_name_says_which_ids_there_are(tmp_path: Path) -> None:
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(category_id="bolt"))))
    assert found.problems == ["annotation 1 of a.png: category_id 'bolt' is none of 1 (bolt), 2 (nut)"]


def test_numbers_that_are_written_as_text_are_numbers(tmp_path: Path) -> None:
    data = coco()
    data["annotations"][0]["bbox"] = ["10", "1e1", " 22.0", "12"]
    data["images"][0] |= {"width": "96", "height": 64.0}
    found = read(written(tmp_path, data))
    assert (found.boxes, found.problems) == ({"a.png": A, "b.png": B}, [])


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
    found = read(written(tmp_path, data))
    assert found.boxes["a.png"][0] == pytest.approx(hull, abs=1e-5)
    assert len(found.problems) == (rotation not in (0, 180.0))


def test_corners_instead_of_width_and_height_are_refused_where_all_are(tmp_path: Path) -> None:
    data = coco()
    for annotation, xyxy in zip(data["annotations"], A + B, strict=True):
        annotation["bbox"] = xyxy
    found = read(written(tmp_path, data))
    assert found.boxes == {}
    assert found.problems[0] == (
        "all annotations: the 4 boxes fit as corners [x1, y1, x2, y2], and 3 stick out far as "
        "[x, y, width, height]: left out. Write width and height, as COCO has them"
    )
    # Large objects whose boxes stick out by a few px are no corners.
    data = coco()
    for annotation in data["annotations"]:
        annotation["bbox"] = [4, 3, 95, 64]
        annotation["category_id"] = annotation["id"] % 2 + 1
    found = read(written(tmp_path, data))
    assert found.boxes == {"a.png": [[4, 3, 96, 64]] * 2, "b.png": [[4, 3, 96, 64]] * 2}
    assert "4 × box … sticks out of the … image; clipped; as corners" in summarise(found.problems)
    # One box alone may be large: it is clipped, and what it may be is said.
    data = edited(lambda d: d["annotations"][1].update(bbox=A[1]))
    found = read(written(tmp_path, data))
    assert found.boxes["a.png"][1] == [60, 20, 96, 62]
    assert found.problems[0].endswith("clipped; as corners [x1, y1, x2, y2] it would fit")


@pytest.mark.parametrize("other", ["1", 1.0, "1.0"])
def test_ids_of_another_type_are_matched_and_named(tmp_path: Path, other: object) -> None:
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(image_id=other))))
    assert found.boxes == {"a.png": A, "b.png": B}
    assert found.problems == [
        "annotation 1 of a.png: image_id and the image's id are written otherwise (1, 1.0, '1'): matched"
    ]


def test_crowds_that_say_neither_yes_nor_no_are_refused(tmp_path: Path) -> None:
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(iscrowd=2))))
    assert found.boxes == {"a.png": A[1:], "b.png": B}
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
    found = read(path)
    assert found.boxes == {"a.png": A, "b.png": B}
    assert found.problems[0].startswith("annotation 1 of a.png: its segmentation is left out, its box kept: ")
