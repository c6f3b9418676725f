"""Near-duplicates of photographs: the same picture in another encoding, size or light."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageEnhance
from support.factories import write_coco_set
from support.pool_images import add_images

from al_loop.cli import cli
from al_loop.images import near_duplicates
from al_loop.images.near_duplicates import add_fingerprints, find_near_duplicates, like_evaluation, take_out
from al_loop.images.repository import source_names
from al_loop.images.validation_sets import add_validation
from al_loop.state.database.image_table import pool_ids
from al_loop.state.database.label_history_table import restore
from al_loop.state.workspace import Workspace


def scene(seed: int) -> Image.Image:
    """A picture of a few large shapes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((320, 240), Image.Resampling.BICUBIC)


def three_of_each(folder: Path, scenes: int) -> list[Path]:
    """Write each scene, the same smaller and as JPEG, and brighter with noise."""
    folder.mkdir()
    files = []
    for number in range(scenes):
        picture = scene(number)
        noise = np.random.default_rng(number).normal(0, 6, (240, 320, 3))
        brighter = np.asarray(ImageEnhance.Brightness(picture).enhance(1.04)) + noise
        copies = {
            "a.png": picture,
            "b.jpg": picture.resize((200, 150)),
            "c.png": Image.fromarray(brighter.clip(0, 255).astype(np.uint8)),
        }
        for name, copy in copies.items():
            files.append(folder / f"{number}{name}")
            copy.save(files[-1])
    return files


def test_the_same_picture_again_is_found_and_others_are_not(workspace: Workspace, tmp_path: Path) -> None:
    add_images(workspace, three_of_each(tmp_path / "photos", 8))
    found = find_near_duplicates(workspace)
    names = source_names(workspace, pool_ids(workspace.store))
    scenes = [[Path(names[name]).name for name in group] for group in found.groups]
    assert sorted(map(sorted, scenes)) == [[f"{n}a.png", f"{n}b.jpg", f"{n}c.png"] for n in range(8)]
    assert not found.like_evaluation
    assert not found.unread


def test_each_image_is_decoded_once(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_images(workspace, three_of_each(tmp_path / "photos", 2))
    first = find_near_duplicates(workspace)
    monkeypatch.setattr(near_duplicates, "read_stored", lambda _: pytest.fail("read again"))
    assert find_near_duplicates(workspace) == first


def test_an_image_that_cannot_be_read_is_told_and_compared_with_none(
    workspace: Workspace, tmp_path: Path
) -> None:
    add_images(workspace, three_of_each(tmp_path / "photos", 2))
    pool = pool_ids(workspace.store)
    (file,) = (workspace.root / "images").glob(f"*/{pool[0]}.*")
    file.chmod(0o644)
    file.write_bytes(b"cut off")
    ((name, reason),) = add_fingerprints(workspace, pool)
    assert name == pool[0][:12]
    assert "has changed since it was stored" in reason
    assert sorted(map(len, find_near_duplicates(workspace).groups)) == [2, 3]


def test_images_like_evaluation_images_leave_the_pool(filled: Workspace, tmp_path: Path) -> None:
    coco = write_coco_set(tmp_path / "val", 4, seed=2)  # the validation set of `filled`
    again = tmp_path / "again.jpg"
    Image.open(coco.parent / "images" / "photo-002.png").save(again, quality=90)
    report = add_images(filled, [again])
    found = like_evaluation(filled)
    assert (list(found.images), found.uncompared) == (report.added, 0)
    take_out(filled, list(found.images))
    assert not like_evaluation(filled).images
    assert report.added[0] not in pool_ids(filled.store)
    restore(filled.store, (), last=True)
    assert report.added[0] in pool_ids(filled.store)


def test_a_large_new_pool_is_not_decoded_for_this(filled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_MOST_NEW", 3)
    pool = pool_ids(filled.store)
    assert like_evaluation(filled).uncompared == len(pool) == 6
    add_fingerprints(filled, pool[:2])
    assert like_evaluation(filled).uncompared == 4
    add_fingerprints(filled, pool[:3])
    assert like_evaluation(filled).uncompared == 0


def test_the_command_lists_them_and_takes_them_out(workspace: Workspace, tmp_path: Path) -> None:
    files = three_of_each(tmp_path / "photos", 3)
    add_images(workspace, files)
    coco = write_coco_set(tmp_path / "val", 4, seed=2)
    scene(1).save(coco.parent / "images" / "photo-002.png")
    with Image.open(coco.parent / "images" / "photo-002.png") as picture:
        size = picture.size
    text = coco.read_text().replace(
        '"file_name": "photo-002.png", "width": 96, "height": 64',
        f'"file_name": "photo-002.png", "width": {size[0]}, "height": {size[1]}',
    )
    coco.write_text(text)
    add_validation(workspace, coco)

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, ["-w", str(workspace.root), "pool", "duplicates", *words])
        assert done.exit_code == 0, done.output
        return done.output

    shown = run("--out", str(tmp_path / "all.json"))
    assert "8 images of the pool are near-duplicates, in 3 groups" in shown
    assert re.search(r"\n  0[abc]\.(png|jpg): 2 more, such as 0[abc]\.", shown)
    assert re.search(r"\n  1[bc]\.(png|jpg): 1 more", shown)  # one of them is an evaluation image itself
    assert "2 images of the pool are like an evaluation image" in shown
    assert "like_evaluation" in (tmp_path / "all.json").read_text()
    assert "2 images like evaluation images are out of the pool. Undo: al-loop labels restore --last" in run(
        "--take-out"
    )
    assert "6 images of the pool are near-duplicates, in 2 groups" in run()
