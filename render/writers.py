"""Files of a dataset: every image commits itself, the COCO file is a merge of what is committed.

out/
  dataset.json            what this dataset is: recipe, seed; another one is refused here
  images/000000.jpg       the picture, written first
  records/000000.json     its labels and the picture's hash, written last: the image is done when this exists
  annotations.json        COCO, merged from the records
  render.log              what Blender printed
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from render.errors import DatasetError
from render.labels import Box
from render.recipe import CLASSES, Recipe, recipe_hash

#: Raised whenever the same recipe and seed would give other pictures than before.
FORMAT = 1


class Record(msgspec.Struct, frozen=True):
    """What became of one image; a failed one has a reason and no file."""

    index: int
    seed: int
    status: Literal["done", "failed"]
    width: int
    height: int
    file_name: str = ""
    sha256: str = ""
    boxes: tuple[Box, ...] = ()
    unplaced: int = 0
    reason: str = ""


class Identity(msgspec.Struct, frozen=True):
    """What makes a dataset the same dataset."""

    format: int
    seed: int
    recipe_sha256: str
    recipe: Recipe


def open_dataset(out: Path, recipe: Recipe, seed: int) -> None:
    """Make `out` ready for this recipe and seed; raises DatasetError when it holds something else."""
    identity = Identity(FORMAT, seed, recipe_hash(recipe), recipe)
    path = out / "dataset.json"
    # A kill while dataset.json itself is written leaves its partial: still our folder.
    if not path.exists() and {p.name for p in out.rglob("*") if p.is_file()} - {"dataset.json.partial"}:
        raise DatasetError(
            f"{out} holds files but no dataset.json; expected an empty folder: choose another folder"
        )
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        (out / "records").mkdir(exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written ({error}); choose another folder") from error
    if path.exists():
        _check_same(path, identity)
    else:
        replace_file(path, msgspec.json.format(msgspec.json.encode(identity), indent=2))


def is_done(out: Path, index: int) -> bool:
    """Whether image `index` is committed whole, or given up."""
    record = read_record(out, index)
    if record is None:
        return False
    if record.status == "failed":
        return True
    try:
        return _sha256((out / "images" / record.file_name).read_bytes()) == record.sha256
    except OSError:
        return False


def read_record(out: Path, index: int) -> Record | None:
    """The record of image `index`; None when there is none that can be read."""
    try:
        return msgspec.json.decode(_record_path(out, index).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def commit(out: Path, record: Record, picture: bytes | None) -> None:
    """Write picture, then record, each whole or not at all; name and hash are filled in here."""
    if picture is not None:
        suffix = "png" if picture.startswith(b"\x89PNG") else "jpg"
        name = f"{record.index:06d}.{suffix}"
        replace_file(out / "images" / name, picture)
        record = msgspec.structs.replace(record, file_name=name, sha256=_sha256(picture))
    replace_file(_record_path(out, record.index), msgspec.json.encode(record))


def merge(out: Path, count: int) -> Path:
    """Write out/annotations.json, COCO of the first `count` images; the same records give the same bytes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        record = read_record(out, index)
        if record is None or record.status == "failed":
            continue
        image_id = index + 1
        images.append(
            {"id": image_id, "file_name": record.file_name, "width": record.width, "height": record.height}
        )
        for box in record.boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": box.category_id,
                    "bbox": list(box.bbox),
                    "area": box.area,
                    "iscrowd": 0,
                    "visible_fraction": box.visible_fraction,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    path = out / "annotations.json"
    replace_file(path, msgspec.json.encode(coco))
    return path


def failures(out: Path, count: int) -> list[Record]:
    """Records of the images among the first `count` that were given up."""
    records = (read_record(out, index) for index in range(count))
    return [record for record in records if record is not None and record.status == "failed"]


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old one or the new one, never half of it.

    Raises DatasetError when it cannot be written: disk full, folder gone.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error}); make room and run again") from error


def _check_same(path: Path, identity: Identity) -> None:
    try:
        stored = msgspec.json.decode(path.read_bytes())
        wanted = msgspec.json.decode(msgspec.json.encode(identity))
        changed = [f"{k}: was {a!r}, now {b!r}" for k, a, b in _differences(stored, wanted, "")]
    except (msgspec.DecodeError, OSError, AttributeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); choose another folder") from error
    changed = [line for line in changed if not line.startswith("recipe_sha256")]
    if changed:
        shown = "; ".join(changed[:4]) + ("; and more" if len(changed) > 4 else "")
        raise DatasetError(
            f"{path.parent} holds another dataset ({shown}); choose another folder, or remove that one"
        )


def _differences(a: Any, b: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{path}.{k}" if path else k)]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [
            d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in _differences(x, y, f"{path}[{i}]")
        ]
    return [] if a == b else [(path, a, b)]


def _record_path(out: Path, index: int) -> Path:
    return out / "records" / f"{index:06d}.json"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
