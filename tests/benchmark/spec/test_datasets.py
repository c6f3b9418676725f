"""Labelled sets of a benchmark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.factories import CLASSES, write_coco_set

from al_loop.benchmark.spec.datasets import read_datasets
from al_loop.core.errors import DataError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_coco_set(folder / "pool", 12, seed=1)
    write_coco_set(folder / "val", 4, seed=2)
    return folder


@pytest.fixture
def pool(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "pool" / "coco.json"


@pytest.fixture
def validation(pool: Path) -> Path:
    return pool.parent.parent / "val" / "coco.json"


def test_a_validation_set_shows_every_class(pool: Path, validation: Path) -> None:
    data = json.loads(validation.read_text())
    first = data["categories"][0]["id"]
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] == first]
    validation.write_text(json.dumps(data))
    with pytest.raises(DataError, match=f"has no box of {CLASSES[1]}"):
        read_datasets(pool, validation, {}, CLASSES)


def test_every_set_has_images_and_boxes(pool: Path, validation: Path) -> None:
    data = json.loads(pool.read_text())
    for number, category in enumerate(data["categories"]):
        category["name"] = f"other-{number}"
    (pool.parent / "bare.json").write_text(json.dumps(data))
    says = r"(?s)12 × category 'other-0' is none of bolt, nut.* no image that can be used as bare"
    with pytest.raises(DataError, match=says):
        read_datasets(pool, pool, {"bare": pool.parent / "bare.json"}, CLASSES)
    empty = pool.parent / "empty.json"
    empty.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(DataError, match="no image that can be used as nothing"):
        read_datasets(pool, validation, {"nothing": empty}, CLASSES)


def test_images_to_evaluate_on_leave_the_pool(pool: Path, validation: Path) -> None:
    with pytest.raises(DataError, match="no image is left to pick from"):
        read_datasets(pool, validation, {"same": pool}, CLASSES)
    part = json.loads(pool.read_text())
    part["images"] = part["images"][:5]
    first = pool.parent / "images" / part["images"][0]["file_name"]
    with Image.open(first) as picture:
        picture.save(first.with_suffix(".bmp"))  # the same picture in another file
    part["images"][0]["file_name"] = first.with_suffix(".bmp").name
    (pool.parent / "part.json").write_text(json.dumps(part))
    datasets = read_datasets(pool, validation, {"part": pool.parent / "part.json"}, CLASSES)
    assert len(datasets.pool) == 7
    assert "5 images of coco.json left out: models are evaluated on them" in datasets.lines[0]
    assert "pool: 7 images, 14 boxes, 0 images empty" in datasets.lines
