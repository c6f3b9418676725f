"""Files of a dataset: every image is committed separately, and the records are merged into a COCO file.

out/
  dataset.json            identity of the dataset: recipe, assets, seed; no other dataset is written here
  images/000000.jpg       the image, written first
  records/000000.json     its labels and the hash of the image, written last: the image is done if this exists
  annotations.json        COCO, merged from the records
  labels/, data.yaml      YOLO, when exported
  masks/<kind>/           mask images, when exported
  render.log              what Blender printed
  root.txt                the folder that paths of the recipe are relative to, as a path relative to out/
  stats.json, stats.png   what `render stats` found
  .lock                   held while a process writes here
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import msgspec

from render.annotation.records import MASK_KINDS, MaskKind, Record, coco, mask_images, yolo
from render.core.errors import DatasetError
from render.core.files import write_atomically
from render.recipe.categories import categories
from render.recipe.load import recipe_hash
from render.recipe.tables import Recipe

__all__ = [
    "FORMAT", "Identity", "Record", "commit", "differences", "is_done", "merge", "open_dataset",
    "read_identity", "read_record", "read_records", "write_masks", "write_yolo",
]  # fmt: skip

#: Incremented whenever the same recipe and seed give other images than before.
FORMAT = 3


class Identity(msgspec.Struct, frozen=True):
    """Identity of a dataset.

    assets_sha256: hash of the meshes and images that the recipe names.
    """

    format: int
    seed: int
    recipe_sha256: str
    assets_sha256: str
    recipe: Recipe


def open_dataset(out: Path, recipe: Recipe, seed: int, assets_sha256: str = "") -> None:
    """Prepare `out` for this recipe and seed; raise DatasetError if it holds something else."""
    identity = Identity(FORMAT, seed, recipe_hash(recipe), assets_sha256, recipe)
    path = out / "dataset.json"
    # A process killed while it writes dataset.json leaves its partial file. The folder may be used.
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
        write_atomically(path, msgspec.json.format(msgspec.json.encode(identity), indent=2))


def read_identity(out: Path) -> Identity:
    """Return the identity of the dataset in `out`; raise DatasetError if this version cannot read it."""
    path = out / "dataset.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        raise DatasetError(f"{out} holds no dataset.json; expected a folder that render wrote") from None
    except (OSError, msgspec.DecodeError) as error:
        raise DatasetError(
            f"{path}: not a dataset of format {FORMAT} ({error}); render it again into another folder"
        ) from error


def is_done(out: Path, index: int) -> bool:
    """Return whether image `index` is complete, failed or skipped."""
    record = read_record(out, index)
    if record is None:
        return False
    if record.status != "done":
        return True
    try:
        return _sha256((out / "images" / record.file_name).read_bytes()) == record.sha256
    except OSError:
        return False


def read_record(out: Path, index: int) -> Record | None:
    """Return the record of image `index`; None if it is missing or cannot be read."""
    try:
        return _decoder.decode(_record_path(out, index).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def read_records(out: Path, count: int) -> Iterator[Record]:
    """Yield the records of the first `count` images, in order; missing records are left out."""
    for index in range(count):
        record = read_record(out, index)
        if record is not None:
            yield record


def commit(out: Path, record: Record, image: bytes | None) -> Record:
    """Write the image, then the record, each atomically; return the record with file name and hash."""
    if image is not None:
        suffix = "png" if image.startswith(b"\x89PNG") else "jpg"
        name = f"{record.index:06d}.{suffix}"
        write_atomically(out / "images" / name, image)
        record = msgspec.structs.replace(record, file_name=name, sha256=_sha256(image))
    write_atomically(_record_path(out, record.index), msgspec.json.encode(record, order="deterministic"))
    return record


def merge(out: Path, count: int) -> Path:
    """Write out/annotations.json: COCO of the first `count` images. Equal records give equal bytes."""
    recipe = read_identity(out).recipe
    path = out / "annotations.json"
    merged = coco(_rendered(out, count), categories(recipe), recipe.labels.margin)
    write_atomically(path, msgspec.json.encode(merged))
    return path


def write_yolo(out: Path, *, outlines: bool = False) -> Path:
    """Write out/labels/*.txt and out/data.yaml, which lists the classes; return the latter."""
    recipe = read_identity(out).recipe
    names, margin = categories(recipe), recipe.labels.margin
    _make_folder(out / "labels")
    for record in _rendered(out, _merged_count(out)):
        text = yolo(record, names, margin=margin, outlines=outlines)
        write_atomically(out / "labels" / f"{record.index:06d}.txt", text.encode(), durable=False)
    listed = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
    path = out / "data.yaml"
    # JSON strings are valid YAML. YOLO finds labels/ by replacing images/ in the path of an image.
    text = f"path: {json.dumps(str(out.resolve()))}\ntrain: images\nval: images\nnames:\n{listed}"
    write_atomically(path, text.encode())
    return path


def write_masks(out: Path, kind: MaskKind) -> Path:
    """Write out/masks/<kind>/*.png, see `render.annotation.records.mask_pictures`; returns that folder."""
    if kind not in MASK_KINDS:
        raise DatasetError(f"expected a mask kind out of {', '.join(MASK_KINDS)}, got {kind!r}")
    names = categories(read_identity(out).recipe)
    for record in _rendered(out, _merged_count(out)):
        for folder, image in mask_images(record, names, kind):
            _make_folder(out / "masks" / folder)
            data = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1]
            write_atomically(out / "masks" / folder / f"{record.index:06d}.png", bytes(data), durable=False)
    return out / "masks" / kind


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({error}); make room and run again") from error


def _rendered(out: Path, count: int) -> Iterator[Record]:
    return (record for record in read_records(out, count) if record.status == "done")


def _merged_count(out: Path) -> int:
    """Return the number of images in annotations.json, so that exports cover the same images."""
    path = out / "annotations.json"
    try:
        ids = [image["id"] for image in json.loads(path.read_bytes())["images"]]
    except FileNotFoundError:
        raise DatasetError(f"{out} holds no annotations.json; finish the rendering first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); run the rendering again") from error
    return max(ids, default=0)


def _check_same(path: Path, identity: Identity) -> None:
    try:
        stored = msgspec.json.decode(path.read_bytes())
        with suppress(msgspec.ValidationError):  # keys that are newer than the dataset have their defaults
            stored = msgspec.to_builtins(msgspec.convert(stored, Identity))
        wanted = msgspec.json.decode(msgspec.json.encode(identity))
        changed = [f"{k}: was {a!r}, now {b!r}" for k, a, b in differences(stored, wanted)]
    except (msgspec.DecodeError, OSError, AttributeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); choose another folder") from error
    # Name the keys of the recipe that differ, not its hash.
    changed = [line for line in changed if not line.startswith("recipe_sha256")]
    if changed:
        others = [line for line in changed if line.startswith("assets_sha256")]
        if others == changed:
            raise DatasetError(
                f"{path.parent} holds another dataset ({others[0]}): a mesh, an image "
                "or a file that one of them refers to has changed; restore it, or choose another folder"
            )
        shown = "; ".join(changed[:4]) + ("; and more" if len(changed) > 4 else "")
        raise DatasetError(
            f"{path.parent} holds another dataset ({shown}); choose another folder, or remove that one"
        )


def differences(a: Any, b: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return (key path, value in a, value in b) for every difference between two trees of plain data."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{path}.{k}".lstrip("."))]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in pairs for d in differences(x, y, f"{path}[{i}]")]
    return [] if a == b else [(path, a, b)]


def _record_path(out: Path, index: int) -> Path:
    return out / "records" / f"{index:06d}.json"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_decoder = msgspec.json.Decoder(Record)
