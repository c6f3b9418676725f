"""Read and check the images of a COCO file, for `add-val`, `pretrain --data` and rendered sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from al_loop.core.errors import DataError
from al_loop.images.coco import CocoImage, CocoSet, Problem
from al_loop.images.identity import Progress, pixels_sha256, threads
from al_loop.images.ingest import PreparedImage, prepare_image
from al_loop.images.repository import KnownLabel
from al_loop.structures.boxes import Boxes

_SAME_PX = 0.05  # other tools round to two decimals: boxes that differ by less are the same
_MOSTLY = 0.5  # share of images without boxes above which a set is suspicious


@dataclass(frozen=True, eq=False)
class CheckedImage:
    """A picture that is whole, upright, and as large as its COCO file says, with its boxes in upright px.

    claimed: the `image_sha256` of the file's entry.
    """

    prepared: PreparedImage
    path: Path
    boxes: Boxes
    ignored: Boxes
    claimed: str | None

    @property
    def without_data(self) -> CheckedImage:
        """Return a copy without the image's bytes."""
        return replace(self, prepared=replace(self.prepared, data=b""))

    @property
    def empty(self) -> bool:
        """Whether it has neither boxes nor ignore regions."""
        return not len(self.boxes) + len(self.ignored)

    @property
    def hashes(self) -> set[str]:
        """Hashes of the image's pixels."""
        return {digest for digest in (self.prepared.pixels, self.prepared.original_pixels) if digest}

    def has_same_labels(self, other: CheckedImage | KnownLabel) -> bool:
        """Whether the other has the same boxes and ignore regions."""
        return same_boxes(self.boxes, other.boxes) and same_boxes(self.ignored, other.ignored)

    @property
    def picture(self) -> str:
        """Hash that identifies the image within its set."""
        return self.prepared.original_pixels or self.prepared.pixels or self.prepared.id


def checked_images(
    coco_set: CocoSet,
    coco: Path,
    refused: list[tuple[str, str]],
    on_progress: Progress | None = None,
    *,
    decode: bool = True,
) -> Iterator[CheckedImage]:
    """Yield the usable images of a COCO file in its order; add the others to `refused`.

    Only the pictures of one chunk are in memory.  decode: look at every pixel, and hash them.
    """

    def check(item: CocoImage) -> CheckedImage | DataError:
        try:
            return _check(item, coco, decode=decode)
        except DataError as error:
            return error

    size = 4 * threads()
    with ThreadPoolExecutor(threads()) as executor:
        for start in range(0, len(coco_set.images), size):
            chunk = coco_set.images[start : start + size]
            for number, (item, done) in enumerate(
                zip(chunk, executor.map(check, chunk), strict=True), start + 1
            ):
                if isinstance(done, DataError):
                    refused.append((str(item.path), str(done)))
                else:
                    yield done
                if on_progress:
                    on_progress(number, len(coco_set.images))


def _check(item: CocoImage, coco: Path, *, decode: bool) -> CheckedImage:
    prepared = prepare_image(item.path, decode=decode)
    if (prepared.width, prepared.height) != (item.width, item.height):
        turned = (prepared.width, prepared.height) == (item.height, item.width) and not prepared.untouched
        raise DataError(
            f"is {prepared.width}x{prepared.height} px upright, {coco.name} says {item.width}x{item.height}"
            + (". An EXIF tag turns it: expected boxes of the picture as viewers show it" if turned else "")
        )
    if decode and prepared.pixels is None:  # what is stored is not what came
        prepared = replace(prepared, pixels=pixels_sha256(prepared.data))
    return CheckedImage(prepared, item.path, item.boxes, item.ignored, item.image_sha256)


def same_boxes(first: Boxes, second: Boxes) -> bool:
    """Whether two labels have the same boxes and classes in any order, within rounding."""
    if len(first) != len(second):
        return False
    left = list(range(len(second)))
    for xyxy, label in zip(first.xyxy, first.labels, strict=True):
        match = next(
            (
                i
                for i in left
                if second.labels[i] == label and np.abs(second.xyxy[i] - xyxy).max() <= _SAME_PX
            ),
            None,
        )
        if match is None:
            return False
        left.remove(match)
    return True


def deduplicate(
    images: Sequence[CheckedImage],
    same: Sequence[str],
    refused: list[tuple[str, str]],
    problems: list[str],
) -> list[int]:
    """Return the places of a set's images with each picture once.

    same: what tells each image's picture. Of copies with boxes and without, those with boxes count, which
        `problems`
    says: an entry without boxes often is one that nobody has labelled. A picture whose copies have
        different boxes is refused.
    """
    groups: dict[str, list[int]] = {}
    for place, key in enumerate(same):
        groups.setdefault(key, []).append(place)
    indices = []
    for group in groups.values():
        boxed = [place for place in group if not images[place].empty] or group[:1]
        first = images[boxed[0]]
        names = ", ".join(images[place].path.name for place in group)
        if all(first.has_same_labels(images[place]) for place in boxed[1:]):
            indices.append(boxed[0])
            if not first.empty and len(boxed) < len(group):
                problems.append(Problem(names, "the same picture with boxes and without; the boxes count"))
            continue
        for place in group:
            refused.append(
                (str(images[place].path), f"is left out: the same picture has different boxes in {names}")
            )
    return indices


def count_phrase(images: int, boxes: int, empty: int, regions: int) -> str:
    """Describe a set in one phrase: images, boxes, empty images, ignore regions if any."""
    counts = f"{images} images, {boxes} boxes, {empty} images empty"
    return f"{counts}, {regions} ignore region{'s' if regions > 1 else ''}" if regions else counts


def empty_warning(images: int, empty: int) -> str:
    """Return a warning for a COCO file most of whose images have no boxes, else ""."""
    if empty <= _MOSTLY * images:
        return ""
    return (
        f"warning: {empty} of {images} images have no boxes: they say that there is nothing to find on them. "
        "Take images that nobody has labelled yet out of the file"
    )
