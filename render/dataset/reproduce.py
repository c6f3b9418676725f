"""Render one image of a dataset again and compare it with the stored one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from render.annotation.record_store import (
    FORMAT,
    Record,
    differences,
    open_dataset,
    read_identity,
    read_record,
)
from render.assets.load import load_assets
from render.core.errors import DatasetError
from render.core.files import write_atomically
from render.core.options import RenderOptions
from render.core.tempdirs import scratch_folder
from render.dataset.generate import remembered_root, scenes
from render.execution.rendering import render_jobs


@dataclass(frozen=True)
class Comparison:
    """The result for image `index`.

    sha256: hash of the new image.
    differences: a sentence each; none if image and labels are the same bytes.
    """

    index: int
    sha256: str
    differences: tuple[str, ...]


def reproduce_image(
    dataset: Path, index: int, options: RenderOptions | None = None, *, keep: Path | None = None
) -> Comparison:
    """Render image `index` of a dataset again and compare it bit for bit with the stored one.

    options: `root` is needed only if the folder that the recipe's paths are relative to has moved.
    keep: file for a copy of the new image.

    Raises DatasetError if the dataset has no such image or its assets have changed, and the errors of
    rendering.
    """
    identity, old = read_identity(dataset), read_record(dataset, index)
    if old is None:
        raise DatasetError(
            f"{dataset} has no image {index}; render it first: python -m render make ... --count {index + 1}"
        )
    options = options or RenderOptions()
    root = options.root or remembered_root(dataset)
    assets = load_assets(identity.recipe, root, python=options.python)
    if identity.format != FORMAT:
        raise DatasetError(
            f"{dataset} has format {identity.format}, and this version renders format {FORMAT}: "
            "its images would differ; expected a dataset of this version"
        )
    if assets.digest != identity.assets_sha256:
        raise DatasetError(
            f"the files that the recipe of {dataset} names are not those it was rendered with; "
            "bring them back, or say where they lie: --root FOLDER"
        )
    with scratch_folder("reproduce") as out:
        open_dataset(out, identity.recipe, identity.seed, identity.assets_sha256)
        jobs = scenes(identity.recipe, assets, identity.seed, [index])
        render_jobs(jobs, out, options, lambda _: None)
        new = read_record(out, index)
        if new is None:
            raise DatasetError(f"image {index} was not written again; see the messages above")
        picture = (out / "images" / new.file_name).read_bytes() if new.file_name else b""
        if keep is not None and picture:
            write_atomically(keep, picture)
    return Comparison(index, new.sha256, tuple(_differences(dataset, old, new, picture)))


def _differences(dataset: Path, old: Record, new: Record, picture: bytes) -> list[str]:
    before, after = ({**msgspec.to_builtins(record), "sha256": "", "file_name": ""} for record in (old, new))
    sentences = []
    if len(old.annotations) != len(new.annotations):
        sentences = [f"expected {len(old.annotations)} labels, got {len(new.annotations)}"]
        before["annotations"] = after["annotations"] = []
    sentences += [f"{key} was {was!r}, is {now!r}" for key, was, now in differences(before, after)]
    if old.status != "done" or new.status != "done":
        return sentences
    try:
        stored = (dataset / "images" / old.file_name).read_bytes()
    except OSError as error:
        return [*sentences, f"the image cannot be read: {error}"]
    if stored != picture:
        sentences.append(_picture_difference(stored, picture))
    return sentences


def _picture_difference(stored: bytes, new: bytes) -> str:
    import cv2

    a, b = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (stored, new))
    if a is None:
        return "the stored image is damaged; remove its record and run make again"
    if b is None or a.shape != b.shape:
        return "the image has another size"
    difference = np.abs(a.astype(int) - b.astype(int))
    if not difference.any():
        return "the image's bytes differ, its pixels do not (another encoder)"
    share = (difference.max(axis=2) > 0).mean()
    return f"the image differs in {share:.1%} of its pixels, by up to {difference.max()} of 255"
