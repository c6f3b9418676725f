"""Labels that people have already join the pool: `pool add-labelled`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.factories import edited, write_coco_set

from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.pool_labels import add_labelled
from al_loop.images.validation_sets import add_validation
from al_loop.state.database.label_history_table import old_labels
from al_loop.state.database.label_table import labels_until
from al_loop.state.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three labelled images that the workspace does not have."""
    return write_coco_set(tmp_path / "mine", 3, seed=7)


def test_labels_of_the_user_are_labels_of_the_pool(filled: Workspace, coco: Path, run: Run) -> None:
    status, out, _ = run("-w", filled.root, "pool", "add-labelled", coco)
    assert status == 0
    assert out == (
        "3 labelled images added, 0 images of the pool labelled, 0 known already, 0 refused\n"
        "labelled now: 3 images, 6 boxes, 0 images empty\n"
    )
    assert repository.unlabelled_count(filled) == 6
    assert [len(item.boxes) for item in repository.labelled(filled)] == [2, 2, 2]
    [label] = repository.labels_of(filled, [repository.labelled(filled)[0].image.id])
    assert str(label) == "has 2 boxes from coco.json"
    assert labels_until(filled.store, 0) == 3  # known before the first cycle
    _, out, _ = run("-w", filled.root, "pool", "export", coco.with_name("out.json"))
    assert "3 images, 0 of them empty, 6 boxes" in out
    _, out, _ = run("-w", filled.root, "status")
    assert "pool        3 labelled, 6 unlabelled\n" in out

    before = repository.labels_hash(repository.labelled(filled))
    _, out, _ = run("-w", filled.root, "pool", "add-labelled", coco)
    assert out.startswith("0 labelled images added, 0 images of the pool labelled, 3 known already")
    assert repository.labels_hash(repository.labelled(filled)) == before
    assert old_labels(filled.store, 1) == ([], 0)


def test_images_of_the_pool_get_their_labels_and_evaluation_images_none(
    filled: Workspace, tmp_path: Path, run: Run
) -> None:
    _, out, _ = run("-w", filled.root, "pool", "add-labelled", tmp_path / "pool" / "coco.json")
    assert out.startswith("0 labelled images added, 6 images of the pool labelled, 0 known already")
    _, out, _ = run("-w", filled.root, "pool", "add-labelled", tmp_path / "val" / "coco.json")
    assert out.startswith("0 labelled images added, 0 images of the pool labelled, 0 known already")
    assert "4 left out: models are evaluated on them\n" in out
    assert len(repository.labelled(filled)) == 6
    assert len(repository.validation(filled)) == 4


def test_labels_that_differ_are_kept_until_they_are_to_be_replaced(
    filled: Workspace, coco: Path, run: Run
) -> None:
    add_labelled(filled, coco)
    [first, *_] = sorted(repository.labelled(filled), key=lambda item: item.image.path)
    drawn = json.dumps([[1.0, 1.0, 9.0, 9.0, 0]])
    filled.store.execute(
        "UPDATE labels SET boxes = ?, cycle = 2, annotator = 'anna' WHERE image_id = ?", drawn, first.image.id
    )
    _, out, _ = run("-w", filled.root, "pool", "add-labelled", coco)
    assert "0 images of the pool labelled, 2 known already, 0 refused\n" in out
    assert "1 have labels that differ: kept as they are. Replace them: --replace\n" in out
    assert "has 1 boxes by anna in cycle 2; coco.json has 2 boxes\n" in out

    _, out, _ = run("-w", filled.root, "pool", "add-labelled", coco, "--replace")
    assert "1 labels replaced. Undo: al-loop labels restore --last\n" in out
    assert {len(item.boxes) for item in repository.labelled(filled)} == {2}
    _, out, _ = run("-w", filled.root, "labels", "restore", "--last")
    assert "1 boxes by anna in cycle 2, in pool; replaced by pool add-labelled coco.json --replace" in out
    assert min(len(item.boxes) for item in repository.labelled(filled)) == 1


def test_what_a_file_lacks_is_said(filled: Workspace, coco: Path, run: Run) -> None:
    def one_class(data: dict[str, Any]) -> None:
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] == 1 and a["category_id"] == 1]

    _, out, _ = run("-w", filled.root, "pool", "add-labelled", edited(coco, "few.json", one_class))
    assert "labelled now: 3 images, 1 boxes, 2 images empty\n" in out
    assert "no label of nut yet: a model cannot learn these classes without labels\n" in out
    assert "warning: 2 of 3 images have no boxes" in out


def test_a_file_of_other_categories_adds_nothing(filled: Workspace, coco: Path) -> None:
    def rename(data: dict[str, Any]) -> None:
        for number, category in enumerate(data["categories"]):
            category["name"] = f"thing {number}"

    files = sorted((filled.root / "images").rglob("*.*"))
    with pytest.raises(DataError, match=r"(?s)category 'thing 0' is none of bolt, nut.*has no usable image"):
        add_labelled(filled, edited(coco, "other.json", rename))
    assert sorted((filled.root / "images").rglob("*.*")) == files


def test_a_validation_set_takes_labelled_images_out_of_the_training(filled: Workspace, coco: Path) -> None:
    add_labelled(filled, coco)
    report = add_validation(filled, coco)
    assert report.moved == report.alike == 3
    assert repository.labelled(filled) == []
