"""Photographs of healthy parts: `pool add --healthy` labels them as empty."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.factories import picture_bytes, write_coco_set

from al_loop.core.console import Silent
from al_loop.images import repository
from al_loop.images.import_sources import add_sources
from al_loop.images.pool_labels import add_labelled
from al_loop.images.training_sets import pretraining_set
from al_loop.images.validation_sets import add_validation
from al_loop.state.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]
UNDO = "Undo: al-loop labels restore --last\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs, and one of them again."""
    folder = tmp_path / "good"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture_bytes(100 + number))
    (folder / "copy.png").write_bytes(picture_bytes(100))
    return folder


def test_healthy_photographs_are_trained_on_and_never_picked(
    filled: Workspace, photos: Path, run: Run
) -> None:
    waiting = {image.id for image in repository.unlabelled(filled)}
    status, out, _ = run("-w", filled.root, "pool", "add", "--healthy", photos)
    assert status == 0
    assert out == (f"3 added, 1 known already, 0 refused\n3 labelled as empty, 0 were empty already. {UNDO}")
    images = repository.labelled(filled)
    assert [len(item.boxes) for item in images] == [0, 0, 0]
    assert {image.id for image in repository.unlabelled(filled)} == waiting
    [label] = repository.labels_of(filled, [images[0].image.id])
    assert str(label) == "is empty from pool add --healthy"
    _, out, _ = run("-w", filled.root, "pool", "add", "--healthy", photos)
    assert out == "0 added, 4 known already, 0 refused\n0 labelled as empty, 3 were empty already\n"


def test_photographs_that_wait_in_the_pool_are_labelled_and_may_wait_again(
    filled: Workspace, tmp_path: Path, run: Run
) -> None:
    known = tmp_path / "pool" / "images"
    _, out, _ = run("-w", filled.root, "pool", "add", "--healthy", known)
    assert out.endswith(f"6 labelled as empty, 0 were empty already. {UNDO}")
    assert repository.unlabelled_count(filled) == 0
    _, out, _ = run("-w", filled.root, "labels", "restore", "--last")
    assert out.count("unlabelled, in pool; replaced by pool add --healthy") == 6
    assert repository.unlabelled_count(filled) == 6
    assert repository.labelled(filled) == []
    run("-w", filled.root, "labels", "restore", "--last")  # what was taken back comes back
    assert len(repository.labelled(filled)) == 6
    [first, *_] = repository.labelled(filled)
    _, out, _ = run("-w", filled.root, "labels", "restore", first.image.id[:12])
    assert "0 boxes" not in out
    assert len(repository.labelled(filled)) == 5


def test_other_labels_are_kept_and_named(filled: Workspace, tmp_path: Path, run: Run) -> None:
    coco = tmp_path / "pool" / "coco.json"
    add_labelled(filled, coco)
    skipped = repository.labelled(filled)[0].image
    filled.store.execute("UPDATE labels SET status = 'skipped', cycle = 4 WHERE image_id = ?", skipped.id)
    _, out, _ = run("-w", filled.root, "pool", "add", "--healthy", coco.parent / "images")
    assert "0 labelled as empty, 0 were empty already\n6 have another label: kept as they are\n" in out
    assert out.count("has 2 boxes from coco.json") == 5
    assert "is skipped by coco.json in cycle 4" in out
    assert len(repository.labelled(filled)) == 5


def test_no_evaluation_image_becomes_a_label(filled: Workspace, tmp_path: Path, run: Run) -> None:
    """Neither by its bytes nor by its pixels, even if two files are the same new encoding."""
    source = sorted((tmp_path / "val" / "images").iterdir())[0]
    buffer = io.BytesIO()
    Image.open(source).save(buffer, "BMP")
    (tmp_path / "bmp").mkdir()
    for name in ("a.bmp", "b.bmp"):
        (tmp_path / "bmp" / name).write_bytes(buffer.getvalue())
    _, out, _ = run("-w", filled.root, "pool", "add", "--healthy", source.parent, tmp_path / "bmp")
    assert "0 labelled as empty, 0 were empty already\n4 left out: models are evaluated on them\n" in out
    assert repository.labelled(filled) == []
    assert all(len(item.boxes) for item in repository.validation(filled))


def test_a_file_with_boxes_and_an_evaluation_set_may_take_them_over(
    filled: Workspace, tmp_path: Path
) -> None:
    """They are labels like others: replaced on request alone, and given to a set with their images."""
    coco = write_coco_set(tmp_path / "mine", 3, seed=7)
    add_sources(filled, [str(coco.parent / "images")], healthy=True)
    report = add_labelled(filled, coco)
    assert len(report.kept) == 3
    assert "is empty from pool add --healthy; coco.json has 2 boxes" in report.kept[0][1]
    assert add_labelled(filled, coco, replace_labels=True).replaced == 3
    assert add_validation(filled, coco).moved == 3
    assert repository.labelled(filled) == []


def test_many_healthy_photographs_are_no_reason_for_a_warning(
    filled: Workspace, photos: Path, tmp_path: Path
) -> None:
    add_sources(filled, [str(photos)], healthy=True)
    add_labelled(filled, write_coco_set(tmp_path / "mine", 1, seed=7))
    reporter = Silent()
    assert len(pretraining_set(filled, (), reporter).own) == 4
    assert not [line for line in reporter.lines if "no boxes" in line]
