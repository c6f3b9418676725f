"""One photograph in several files: known again by its bytes, its export, or its pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from msgspec import structs
from PIL import Image
from support.factories import draw, write_coco_set
from support.pool_images import add_images
from support.small_loop import small_loop

from al_loop.core.config import PoolConfig
from al_loop.core.files import file_sha256
from al_loop.images import repository
from al_loop.images.export import export_labels
from al_loop.images.identity import hash_known, picture_sha256, pixels_sha256, remove_evaluation_copies
from al_loop.images.import_sources import add_sources
from al_loop.images.ingest import IngestBatch
from al_loop.images.validation_sets import add_validation
from al_loop.state.database.label_history_table import old_labels
from al_loop.state.database.pixel_table import images_with_pixels
from al_loop.state.workspace import Workspace


def turned(path: Path, seed: int = 0, orientation: int = 6) -> Path:
    """Write a photograph that its EXIF tag turns: 64x96 px as stored, 96x64 upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(64, 96, [[5, 5, 20, 20]], seed).save(path, exif=exif, quality=92)
    return path


def coco_of(folder: Path, files: list[Path], **entry: Any) -> Path:
    """Write a COCO file with one box of each class on every picture."""
    images = [
        {"id": i, "file_name": str(file), "width": 96, "height": 64, **entry}
        for i, file in enumerate(files, start=1)
    ]
    boxes = [
        {"id": 2 * i + c, "image_id": i, "category_id": c + 1, "bbox": [10 * c + 1, 2, 8, 8]}
        for i in range(1, len(files) + 1)
        for c in (0, 1)
    ]
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    folder.mkdir(exist_ok=True)
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return path


def roles(workspace: Workspace) -> list[str]:
    return [row["role"] for row in workspace.store.rows("SELECT role FROM images ORDER BY role")]


def copies(source: Path, folder: Path) -> dict[str, Path]:
    """The same picture in other files: without metadata, as PNG, turned without loss."""
    from PIL import ImageOps

    folder.mkdir(exist_ok=True)
    with Image.open(source) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    files = {"png": folder / "same.png", "webp": folder / "same.webp", "bmp": folder / "same.bmp"}
    upright.save(files["png"])
    upright.save(files["webp"], lossless=True)
    upright.save(files["bmp"])
    return files


def test_a_hash_of_pixels_is_of_the_size_and_every_pixel(tmp_path: Path) -> None:
    black = np.zeros((2, 3, 3), np.uint8)
    # sha256 of "3x2 BGR\n" and 18 zero bytes
    assert picture_sha256(black) == "54c36378b8264247c023cc45b27029dbb228db8423af848cd135a03c99fead8f"
    assert picture_sha256(black) != picture_sha256(black.reshape(3, 2, 3))
    other = black.copy()
    other[1, 2, 2] = 1
    assert picture_sha256(black) != picture_sha256(other)
    path = tmp_path / "a.png"
    Image.fromarray(other).save(path)
    assert pixels_sha256(path.read_bytes()) == picture_sha256(np.ascontiguousarray(other[..., ::-1]))
    assert pixels_sha256(b"no picture") is None


def test_an_export_of_turned_photographs_is_known_again(workspace: Workspace, tmp_path: Path) -> None:
    photo = turned(tmp_path / "photos" / "a.jpg")
    add_images(workspace, [photo])
    [image] = repository.unlabelled(workspace)
    workspace.store.execute(
        "INSERT INTO labels VALUES "
        "(?, 'labelled', '[[1, 2, 9, 10, 0], [11, 2, 19, 10, 1]]', 1, 'a', 4.0, 'x', NULL)",
        image.id,
    )
    export_labels(workspace, tmp_path / "labels.json")
    # The stored file has other bytes than the photograph; it comes as both.
    assert add_images(workspace, [image.path]).duplicates == 1
    report = add_validation(workspace, tmp_path / "labels.json")
    assert (report.moved, report.alike, report.added, report.problems) == (1, 1, [], [])
    assert roles(workspace) == ["validation"]
    for again in (photo, image.path):
        assert add_images(workspace, [again]).duplicates == 1
    assert roles(workspace) == ["validation"]


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["png", "webp", "bmp"])
@pytest.mark.parametrize("exif", [True, False])
def test_a_pool_image_by_another_file_leaves_the_pool(
    workspace: Workspace, tmp_path: Path, kind: str, exif: bool
) -> None:
    photo = turned(tmp_path / "photos" / "a.jpg", orientation=6 if exif else 1)
    if not exif:
        draw(96, 64, [[5, 5, 20, 20]]).save(photo)
    other = turned(tmp_path / "photos" / "b.jpg", seed=1)
    add_images(workspace, [photo, other])
    again = copies(photo, tmp_path / "again")[kind]
    report = add_validation(workspace, coco_of(tmp_path / "val", [again]))
    assert (report.moved, report.added, report.problems) == (1, [], [])
    assert roles(workspace) == ["pool", "validation"]
    [item] = repository.validation(workspace)
    assert item.image.id == file_sha256(photo)
    assert len(list((workspace.root / "images").rglob("*.*"))) == 2  # the copy is not kept


@pytest.mark.parametrize("kind", ["png", "webp", "bmp"])
def test_a_validation_image_by_another_file_stays_out_of_the_pool(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    photo = turned(tmp_path / "photos" / "a.jpg")
    add_validation(workspace, coco_of(tmp_path / "val", [photo]))
    again = copies(photo, tmp_path / "again")[kind]
    fresh = turned(tmp_path / "photos" / "b.jpg", seed=1)
    report = add_images(workspace, [again, fresh])
    assert (len(report.added), report.duplicates) == (1, 1)
    assert roles(workspace) == ["pool", "validation"]
    assert len(list((workspace.root / "images").rglob("*.*"))) == 2


def test_the_photograph_of_a_judged_copy_stays_out_of_the_pool(workspace: Workspace, tmp_path: Path) -> None:
    """It is turned and compressed again when it is stored: the pixels that it came with tell."""
    photo = turned(tmp_path / "photos" / "a.jpg")
    add_validation(workspace, coco_of(tmp_path / "val", [copies(photo, tmp_path / "again")["png"]]))
    assert add_images(workspace, [photo]).duplicates == 1
    assert roles(workspace) == ["validation"]


def test_linked_photographs_are_compared_too(workspace: Workspace, tmp_path: Path) -> None:
    linked = Workspace(
        workspace.root,
        structs.replace(workspace.config, pool=PoolConfig(objects="link")),
        workspace.store,
    )
    first, second = (turned(tmp_path / "photos" / name, seed) for seed, name in enumerate(("a.jpg", "b.jpg")))
    one, two = (copies(photo, tmp_path / photo.stem) for photo in (first, second))
    store = fsspec.filesystem("memory")
    store.pipe({"/compared/1.png": one["png"].read_bytes(), "/compared/2.png": two["png"].read_bytes()})
    add_validation(linked, coco_of(tmp_path / "val", [first]))
    summary = add_sources(linked, ["memory://compared"])
    assert (summary.added, summary.known) == (1, 1)
    report = add_validation(linked, coco_of(tmp_path / "more", [two["bmp"]]))
    assert (report.moved, report.added, report.problems) == (1, [], [])
    assert roles(linked) == ["validation"] * 2
    store.rm("/compared", recursive=True)


def test_photographs_are_decoded_only_beside_judged_ones_of_their_size(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def counted(data: bytes) -> str | None:
        decoded.append(len(data))
        return pixels_sha256(data)

    monkeypatch.setattr("al_loop.images.identity.pixels_sha256", counted)
    pool = write_coco_set(tmp_path / "pool", 3, seed=1)
    files = sorted((pool.parent / "images").iterdir())
    add_images(workspace, files[:2])
    assert decoded == []
    add_validation(workspace, write_coco_set(tmp_path / "small", 2, seed=2, size=(48, 64)))
    assert decoded == []  # the file's pictures are decoded once, where they are checked
    add_images(workspace, files[2:])
    assert decoded == []
    add_validation(workspace, write_coco_set(tmp_path / "val", 2, seed=3))
    assert len(decoded) == 3  # the pool's
    add_validation(workspace, write_coco_set(tmp_path / "more", 2, seed=4))
    assert len(decoded) == 3
    more = write_coco_set(tmp_path / "pool2", 2, seed=5)
    add_images(workspace, sorted((more.parent / "images").iterdir()))
    assert len(decoded) == 5


def test_a_claim_of_another_image_is_a_problem(workspace: Workspace, tmp_path: Path) -> None:
    first, second = turned(tmp_path / "photos" / "a.jpg"), turned(tmp_path / "photos" / "b.jpg", seed=1)
    add_images(workspace, [first])
    [image] = repository.unlabelled(workspace)
    good = turned(tmp_path / "photos" / "c.jpg", seed=2)
    coco = coco_of(tmp_path / "val", [second, good])
    data = json.loads(coco.read_text())
    data["images"][0]["image_sha256"] = image.id
    data["images"][1]["image_sha256"] = "f" * 64  # of a workspace that is not here
    coco.write_text(json.dumps(data))
    report = add_validation(workspace, coco)
    [(where, why)] = report.refused
    assert where == str(second)
    assert f"says that it is image {image.id[:12]} (image_sha256), but has other pixels" in why
    assert len(report.added) == 1
    assert roles(workspace) == ["pool", "validation"]


def test_all_copies_in_the_pool_leave_it(workspace: Workspace, tmp_path: Path) -> None:
    photo = turned(tmp_path / "photos" / "a.jpg")
    files = copies(photo, tmp_path / "again")
    # Pool images are not compared with each other.
    add_images(workspace, [photo, files["png"], files["bmp"]])
    assert roles(workspace) == ["pool"] * 3
    report = add_validation(workspace, coco_of(tmp_path / "val", [files["webp"]]))
    assert report.moved == 1
    assert roles(workspace) == ["validation"] * 3
    assert len(repository.validation(workspace)) == 1


def test_a_workspace_of_before_learns_its_pixels(filled: Workspace, tmp_path: Path) -> None:
    """Images that were added by an al-loop without the table are hashed when they are compared, in pieces."""
    filled.store.execute("DELETE FROM pixels")
    [image, *_] = repository.validation(filled)
    with Image.open(image.image.path) as picture:
        picture.convert("RGB").save(tmp_path / "again.bmp")
    assert add_images(filled, [tmp_path / "again.bmp"]).duplicates == 1
    assert hash_known(filled, [(96, 64)]) == []
    assert filled.store.count("SELECT count(*) FROM pixels") == 10
    digest = pixels_sha256((tmp_path / "again.bmp").read_bytes())
    assert digest is not None
    assert images_with_pixels(filled.store, [digest], validation=False) == {digest: [image.image.id]}


def test_what_cannot_be_compared_is_said(filled: Workspace, tmp_path: Path) -> None:
    [first, *_] = repository.unlabelled(filled)
    filled.store.execute("DELETE FROM pixels")
    first.path.unlink()
    report = add_validation(filled, write_coco_set(tmp_path / "more", 2, seed=9))
    assert report.problems == [
        f"known image {first.id[:12]} cannot be read (No such file or directory): "
        "not compared with the images of the file"
    ]


def test_a_kill_between_comparing_and_the_rows_leaves_nothing(
    filled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = write_coco_set(tmp_path / "more", 2, seed=9)
    before = filled.store.count("SELECT count(*) FROM images")

    def killed(_: IngestBatch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(IngestBatch, "insert", killed)
        for add in (
            lambda: add_validation(filled, more),
            lambda: add_images(filled, list(more.parent.rglob("*.png"))),
        ):
            with pytest.raises(KeyboardInterrupt):
                add()
    assert filled.store.count("SELECT count(*) FROM images") == before
    report = add_validation(filled, more)
    assert len(report.added) == 2


def leak(workspace: Workspace, image: str, folder: Path) -> None:
    """Let a picture of the pool stand in the validation set by another file, as an older al-loop did."""
    [known] = repository.images_by_id(workspace, [image])
    with Image.open(known.path) as picture:
        picture.save(folder / f"{image}.bmp")
    [copy] = add_images(workspace, [folder / f"{image}.bmp"]).added
    workspace.store.execute("UPDATE images SET role = 'validation' WHERE id = ?", copy)
    workspace.store.execute("DELETE FROM pixels")


def test_a_cycle_leaves_out_what_models_are_judged_on_by_another_file(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=10)
    first, second, *others = [image.id for image in repository.unlabelled(workspace)]
    leak(workspace, first, tmp_path)
    loop.run()
    assert sorted(loop.pushed[0]) == sorted([second, *others])
    assert first not in [item.image.id for item in repository.labelled(workspace)]
    assert len(repository.labelled(workspace)) == 9

    leak(workspace, second, tmp_path)  # people have labelled it meanwhile
    assert remove_evaluation_copies(workspace, [second, *others]) == [second]
    assert remove_evaluation_copies(workspace, others) == []
    assert second not in [item.image.id for item in repository.labelled(workspace)]
    [old] = old_labels(workspace.store, 1)[0]
    assert (old.image_id, old.box_count, old.role) == (second, 1, "pool")
    assert old.reason == "models are evaluated on the same picture"
