"""A whole COCO file: encodings, categories, images without usable annotations, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.coco_files import A, B, coco, edited, read, written

from render.core.errors import DatasetError


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
    with pytest.raises(DatasetError, match=says):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_any_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, {})
    path.write_bytes(json.dumps(coco()).encode(encoding))
    assert read(path).boxes == {"a.png": A, "b.png": B}


def test_one_number_of_thousands_of_digits_loses_its_own_box_only(tmp_path: Path) -> None:
    path = written(tmp_path, coco())
    path.write_text(path.read_text().replace("[10, 10, 22, 12]", f"[1{'0' * 5000}, 10, 22, 12]"))
    found = read(path)
    assert found.boxes == {"a.png": A[1:], "b.png": B}
    assert len(found.problems) == 1


def test_a_key_that_stands_there_twice_is_no_value(tmp_path: Path) -> None:
    path = written(tmp_path, coco())
    path.write_text(
        path.read_text().replace('"bbox": [10, 10, 22, 12]', '"bbox": [1, 1, 2, 2], "bbox": [10, 10, 22, 12]')
    )
    found = read(path)
    assert found.boxes == {"a.png": A[1:], "b.png": B}
    assert found.problems == ["annotation 1 of a.png: has bbox twice, with different values"]


@pytest.mark.parametrize("bad", [[1], {"a": 1}, None, True, "", 1.5])
def test_ids_that_are_none_leave_out_what_they_belong_to(tmp_path: Path, bad: object) -> None:
    found = read(written(tmp_path, edited(lambda d: d["images"][0].update(id=bad))))
    assert found.boxes == {"b.png": B}
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(image_id=bad))))
    assert found.boxes == {"a.png": A[1:], "b.png": B}
    found = read(written(tmp_path, edited(lambda d: d["annotations"][0].update(category_id=bad))))
    assert found.boxes == {"a.png": A[1:], "b.png": B}
    found = read(written(tmp_path, edited(lambda d: d["categories"][0].update(id=bad))))
    assert found.boxes == {"a.png": A[1:], "b.png": B[1:]}


def test_categories_with_one_id_or_one_name(tmp_path: Path) -> None:
    same_name = edited(lambda d: d["categories"].append({"id": 7, "name": "bolt"}))
    same_name["annotations"][0]["category_id"] = 7
    found = read(written(tmp_path, same_name))
    assert found.boxes == {"a.png": A, "b.png": B}
    assert found.problems == ["category 'bolt': has the ids 1 and 7: joined"]
    same_id = edited(lambda d: d["categories"].append({"id": 1, "name": "washer"}))
    found = read(written(tmp_path, same_id))
    assert found.boxes == {"a.png": A[1:], "b.png": B[1:]}
    assert (
        found.problems[0] == "category 'washer': id 1 is that of 'bolt' too: the boxes of both are left out"
    )
    no_text = edited(lambda d: d["categories"][0].update(name=5))
    assert read(written(tmp_path, no_text)).boxes == {"a.png": A[1:], "b.png": B[1:]}


def test_an_image_whose_annotations_were_all_refused_is_not_empty(tmp_path: Path) -> None:
    data = coco()
    for annotation in data["annotations"][:2]:
        annotation["bbox"] = None
    found = read(written(tmp_path, data))
    assert found.boxes == {"b.png": B}
    assert found.problems[-1] == "image 'a.png': none of its annotations can be used: left out"
    data["annotations"] = data["annotations"][2:]
    assert read(written(tmp_path, data)).boxes == {"a.png": [], "b.png": B}


@pytest.mark.parametrize(
    "lost",
    [None, *({"id": 1, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in (None, 99, "a.png"))],
)
def test_an_image_that_may_have_lost_its_annotations_is_not_empty(tmp_path: Path, lost: object) -> None:
    data = coco()
    data["annotations"] = [lost, *data["annotations"][2:]]
    found = read(written(tmp_path, data))
    assert found.boxes == {"b.png": B}
    assert found.problems[-1] == (
        "image 'a.png': has no annotation, but 1 of the file belong to none of its images: left out"
    )


def test_a_file_of_crowds_alone_says_why_nothing_is_left(tmp_path: Path) -> None:
    """Some tools write iscrowd 1 everywhere."""
    data = coco()
    for annotation in data["annotations"]:
        annotation["iscrowd"] = 1
    found = read(written(tmp_path, data))
    assert [len(boxes) for boxes in found.ignored.values()] == [2, 2]
    assert found.problems == [
        "all annotations: are ignore regions (iscrowd or ignore is 1): no object is left"
    ]
