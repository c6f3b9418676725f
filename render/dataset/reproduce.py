"""One image of a dataset made anew, and held against the one that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from render.annotation.record_store import Record, open_dataset, read_identity, read_record, replace_file
from render.assets.load import load_assets
from render.core.errors import DatasetError
from render.core.tempdirs import scratch_folder
from render.dataset.generate import Crew, remembered_root, render_images, scenes

_IGNORED = ("sha256", "file_name")


@dataclass(frozen=True)
class Comparison:
    """Image `index` made again. differences: sentences, none when picture and labels are the same bytes."""

    index: int
    sha256: str
    differences: tuple[str, ...]


def render_again(
    dataset: Path,
    index: int,
    *,
    crew: Crew | None = None,
    root: Path | None = None,
    keep: Path | None = None,
) -> Comparison:
    """Make image `index` of a dataset anew and compare it bit for bit with what is there; `keep` gets a copy.

    root: the folder that the recipe's paths are relative to, when it has moved. Raises DatasetError when the
    dataset has no such image, or its assets are no longer the same; and the errors of rendering.
    """
    identity, old = read_identity(dataset), read_record(dataset, index)
    if old is None:
        raise DatasetError(
            f"{dataset} has no image {index}; render it first: python -m render make ... --count {index + 1}"
        )
    crew = crew or Crew()
    assets = load_assets(identity.recipe, root or remembered_root(dataset), python=crew.python)
    if not assets.accepts(identity.assets_sha256):
        raise DatasetError(
            f"the files that the recipe of {dataset} names are not those it was rendered with; "
            "bring them back, or say where they lie: --root FOLDER"
        )
    with scratch_folder("again") as out:
        open_dataset(out, identity.recipe, identity.seed, identity.assets_sha256)
        jobs = scenes(identity.recipe, assets, identity.seed, [index])
        render_images(out, jobs, crew, lambda _: None)
        new = read_record(out, index)
        if new is None:
            raise DatasetError(f"image {index} was not written again; see the messages above")
        picture = (out / "images" / new.file_name).read_bytes() if new.file_name else b""
        if keep is not None and picture:
            replace_file(keep, picture)
    return Comparison(index, new.sha256, tuple(_differences(dataset, old, new, picture)))


def _differences(dataset: Path, old: Record, new: Record, picture: bytes) -> list[str]:
    found = []
    for field in Record.__struct_fields__:
        before, after = getattr(old, field), getattr(new, field)
        if field == "annotations":
            found += _label_differences(before, after)
        elif field not in _IGNORED and before != after:
            found.append(f"{field} was {before!r}, is {after!r}")
    if old.status != "done" or new.status != "done":
        return found
    try:
        stored = (dataset / "images" / old.file_name).read_bytes()
    except OSError as error:
        return [*found, f"the picture cannot be read: {error}"]
    if stored != picture:
        found.append(_picture_difference(stored, picture))
    return found


def _label_differences(before: Sequence[msgspec.Struct], after: Sequence[msgspec.Struct]) -> list[str]:
    if len(before) != len(after):
        return [f"there were {len(before)} labels, there are {len(after)}"]
    return [
        f"label {number}: {field} was {getattr(a, field)!r}, is {getattr(b, field)!r}"
        for number, (a, b) in enumerate(zip(before, after, strict=True))
        for field in a.__struct_fields__
        if getattr(a, field) != getattr(b, field)
    ]


def _picture_difference(stored: bytes, made: bytes) -> str:
    import cv2

    a, b = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (stored, made))
    if a is None:
        return "the stored picture is broken; remove its record and run make again"
    if b is None or a.shape != b.shape:
        return "the picture has another size"
    apart = np.abs(a.astype(int) - b.astype(int))
    if not apart.any():
        return "the picture's bytes differ, its pixels do not (another encoder)"
    return f"the picture differs in {(apart.max(axis=2) > 0).mean():.1%} of its pixels, by up to {apart.max()} of 255"
