"""Any COCO file is read or refused with one error, and each box lies inside its own image."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import CLASSES, draw

from al_loop.core.errors import DataError
from al_loop.images.coco import listed, read_coco
from al_loop.structures import segmentation
from render.coco import read_coco as read_all
from render.coco.structures import identifier
from render.core.errors import DatasetError
from render.core.files import printable

#: Values of foreign files, at every place: other types, other numbers, names that no file can have.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.sampled_from(
        [10**400, -(10**30), 2**63, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -0.0, 0.5]
    ),
    st.floats(-50, 150),
    st.text(max_size=6),
    st.sampled_from(
        [
            "1",
            "2.0",
            "a.png",
            "./b.png",
            "A.PNG",
            "sub\\a.png",
            "x" * 300,
            "n\0",
            "\ud800",
            "..",
            "bolt",
            "Bolt",
            "true",
        ]
    ),
    st.lists(st.one_of(st.integers(-5, 120), st.floats(-5, 120), st.none(), st.text(max_size=2)), max_size=5),
    st.dictionaries(
        st.sampled_from(["id", "rotation", "size", "counts", ""]), st.integers(-1, 400), max_size=2
    ),
    st.lists(st.lists(st.integers(-5, 120), max_size=8), max_size=2),
)
KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": (
        "id",
        "image_id",
        "category_id",
        "bbox",
        "iscrowd",
        "ignore",
        "attributes",
        "segmentation",
    ),
    "categories": ("id", "name"),
}
BOXES = ([10, 10, 22, 12], [60, 20, 12, 22], [5, 30, 22, 12], [70, 8, 12, 22])


def right() -> dict[str, Any]:
    images = [
        {"id": i, "file_name": name, "width": 96, "height": 64} for i, name in ((1, "a.png"), (2, "b.png"))
    ]
    annotations = [
        {
            **{"id": n, "image_id": 1 + n // 2, "category_id": 1 + n % 2, "bbox": list(box), "iscrowd": 0},
            "segmentation": [[box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3]]],
        }
        for n, box in enumerate(BOXES)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
    }


@st.composite
def mutated(draw_one: st.DrawFn) -> Any:
    data: Any = right()
    for _ in range(draw_one(st.integers(1, 5))):
        part = draw_one(st.sampled_from(list(KEYS)))
        rows = data[part]
        what = draw_one(
            st.sampled_from(["set", "set", "set", "delete", "copy", "row", "coordinate", "corner"])
        )
        if not rows or what == "row":
            rows.insert(draw_one(st.integers(0, len(rows))), draw_one(ODD))
            continue
        row = rows[draw_one(st.integers(0, len(rows) - 1))]
        key = draw_one(st.sampled_from(KEYS[part]))
        if what == "copy":
            rows.append(copy.deepcopy(row))
        elif not isinstance(row, dict):
            continue
        elif what == "delete":
            row.pop(key, None)
        elif what == "corner" and isinstance(row.get("segmentation"), list) and row["segmentation"]:
            ring = row["segmentation"][0]
            if isinstance(ring, list) and ring:
                ring[draw_one(st.integers(0, len(ring) - 1))] = draw_one(ODD)
        elif what == "coordinate" and isinstance(row.get("bbox"), list) and row["bbox"]:
            row["bbox"][draw_one(st.integers(0, len(row["bbox"]) - 1))] = draw_one(ODD)
        else:
            row[key] = draw_one(ODD)
    if draw_one(st.integers(0, 40)) == 0:
        data[draw_one(st.sampled_from([*KEYS, "info"]))] = draw_one(ODD)
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "images").mkdir()
    draw(96, 64, []).save(folder / "a.png")
    draw(96, 64, []).save(folder / "images" / "b.png")
    return folder


@pytest.mark.integration
@given(data=mutated())
def test_a_file_is_read_or_refused(folder: Path, data: Any) -> None:
    check(folder / "coco.json", data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(settings.get_profile("thorough"))
@given(data=mutated())
def test_a_hundred_thousand_files_are_read_or_refused(folder: Path, data: Any) -> None:
    check(folder / "coco.json", data)


@given(cut=st.integers(0, 700), put=st.binary(max_size=3))
def test_bytes_that_are_cut_or_changed_are_read_or_refused(folder: Path, cut: int, put: bytes) -> None:
    whole = json.dumps(right()).encode()
    (folder / "coco.json").write_bytes(whole[:cut] + put + whole[cut + len(put) :])
    read_or_refused(folder / "coco.json")


def check(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data))
    coco = read_or_refused(path)
    if coco is None:
        return
    named: dict[object, set[str]] = {}
    for entry in data["images"]:
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
            name = entry["file_name"].replace("\\", "/").rsplit("/", 1)[-1].lower()
            named.setdefault(identifier(entry.get("id")), set()).add(name)
    for part in (coco, coco.ignored):
        for row, image in zip(part.rows, part.image.tolist(), strict=True):
            file = coco.pictures[image].path
            # Of an annotation whose image_id is that file's, and no other's.
            assert file is None or named[identifier(data["annotations"][row]["image_id"])] == {file.name}


def read_or_refused(path: Path) -> Any:
    try:
        coco = read_all(path)
    except DatasetError:
        with pytest.raises(DataError):
            read_coco(path, CLASSES)
        return None
    for part in (coco, coco.ignored):
        size = np.array([(p.width, p.height) for p in coco.pictures]).reshape(-1, 2)[part.image]
        assert (part.bbox[:, 2:] > 0).all()
        assert (part.bbox[:, :2] >= 0).all()
        assert (part.bbox[:, :2] + part.bbox[:, 2:] <= size + 1e-9).all()
    ours, outlined = (read_coco(path, CLASSES, masks=masks) for masks in (False, True))
    assert len(outlined.images) == len(ours.images)
    for image, plain in zip(outlined.images, ours.images, strict=True):
        assert image.boxes.xyxy.tolist() == plain.boxes.xyxy.tolist()
        for outline in filter(None, image.boxes.outlines or ()):
            assert segmentation.pixels(outline, image.width, image.height).any()
    for image in ours.images:
        for boxes in (image.boxes, image.ignored):
            assert (boxes.xyxy[:, :2] >= 0).all()
            assert (boxes.xyxy[:, 2:] <= (image.width, image.height)).all()
            assert set(boxes.labels.tolist()) <= {0, 1}
    assert all(line == printable(line) for line in listed(ours.problems, "coco.json").split("\n"))
    return coco
