"""Image files are found by the tail of their path, and never another image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.coco_files import A, B, coco, edited, read, written

from render.coco import summarise


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
    found = read(written(tmp_path, data, there, "b.png"))
    assert found.boxes == {Path(there).name: A, "b.png": B}
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
    found = read(written(tmp_path, coco(), there, there.replace("a.png", "b.png"), other, file=file))
    assert found.boxes == {"a.png": A, "b.png": B}
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
    found = read(path)
    paths = [picture.path for picture in found.data.pictures if picture.path]
    assert sorted(str(path.relative_to(tmp_path)) for path in paths) == ["e.png", "other/b.png"]
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
    found = read(path)
    assert found.boxes == {"b.png": B}
    assert found.problems == [
        "image 'a.jpg': no such file beside coco.json or in images/; images/a.png is: "
        "name it in coco.json if it shows the same"
    ]
    data["images"].append({"id": 3, "file_name": "a.png", "width": 96, "height": 64})
    found = read(written(tmp_path, data, "images/a.png", "b.png"))
    assert found.problems == ["image 'a.jpg': no such file beside coco.json or in images/"]


def test_special_files_are_no_pictures(tmp_path: Path) -> None:
    path = written(tmp_path, coco(), "b.png")
    os.mkfifo(tmp_path / "a.png")
    assert read(path).boxes == {"b.png": B}
