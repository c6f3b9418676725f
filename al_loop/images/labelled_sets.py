"""Read and check the images of COCO files: evaluation sets, training sets and rendered sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.images.coco import CocoImage, CocoSet, Problem, read_coco
from al_loop.images.identity import THREADS, pixels_sha256
from al_loop.images.ingest import PreparedImage, prepare_image
from al_loop.images.outlines import same_outline
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

_SAME_PX = 0.05  # boxes that differ by less are the same, because other tools round to two decimals
_MOSTLY = 0.5  # share of images without boxes above which a warning is given


@dataclass(frozen=True, eq=False, kw_only=True)
class CheckedImage(CocoImage):
    """An image of a COCO file that is complete, upright, and as large as the file says."""

    prepared: PreparedImage

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

    def has_labels(self, boxes: Boxes, ignored: Boxes, *, outlines: bool) -> bool:
        """Whether these are its boxes and ignore regions, within rounding. outlines: also the outlines."""
        return same_boxes(self.boxes, boxes, outlines=outlines) and same_boxes(self.ignored, ignored)

    @property
    def picture(self) -> str:
        """Hash that identifies the image within its set."""
        return self.prepared.original_pixels or self.prepared.pixels or self.prepared.id

    @property
    def labelled(self) -> LabelledImage:
        """The image where it lies, with its labels."""
        image = ImageFile(self.prepared.id, self.path, self.prepared.width, self.prepared.height)
        return LabelledImage(image, self.boxes, self.ignored)


def checked_images(
    coco_set: CocoSet,
    coco: Path,
    refused: list[tuple[str, str]],
    on_progress: Progress | None = None,
    *,
    decode: bool = True,
) -> Iterator[CheckedImage]:
    """Yield the usable images of a COCO file in its order. Add the others to `refused`.

    decode: decode and hash all pixels.
    Only one chunk of files is in memory at a time.
    """

    def check(item: CocoImage) -> CheckedImage | DataError:
        try:
            return _check(item, coco, decode=decode)
        except DataError as error:
            return error

    done = 0
    with ThreadPoolExecutor(THREADS) as executor:
        for start in range(0, len(coco_set.images), 4 * THREADS):
            chunk = coco_set.images[start : start + 4 * THREADS]
            for item, result in zip(chunk, executor.map(check, chunk), strict=True):
                if isinstance(result, DataError):
                    refused.append((str(item.path), str(result)))
                else:
                    yield result
                done += 1
                if on_progress:
                    on_progress(done, len(coco_set.images))


def _check(item: CocoImage, coco: Path, *, decode: bool) -> CheckedImage:
    prepared = prepare_image(item.path, decode=decode)
    size = (prepared.width, prepared.height)
    if size != (item.width, item.height):
        turned = size == (item.height, item.width) and not prepared.untouched
        raise DataError(
            f"is {prepared.width}x{prepared.height} px upright, {coco.name} says {item.width}x{item.height}"
            + (". An EXIF tag rotates it: expected boxes in the image as viewers show it" if turned else "")
        )
    if decode and prepared.pixels is None:  # the stored pixels differ from those of the file
        prepared = replace(prepared, pixels=pixels_sha256(prepared.data))
    return CheckedImage(**vars(item), prepared=prepared)


def same_boxes(first: Boxes, second: Boxes, *, outlines: bool = False) -> bool:
    """Whether two labels have the same boxes and classes in any order, within rounding.

    outlines: whether boxes with different outlines are different.
    """
    if len(first) != len(second):
        return False
    left = list(range(len(second)))
    for row, (xyxy, label) in enumerate(zip(first.xyxy, first.labels, strict=True)):
        near = np.abs(second.xyxy[left] - xyxy).max(axis=1) <= _SAME_PX
        matches = np.flatnonzero(near & (second.labels[left] == label)).tolist()
        if outlines:
            matches = [match for match in matches if _same_outline(first, row, second, left[match])]
        if not matches:
            return False
        del left[matches[0]]
    return True


def _same_outline(first: Boxes, row: int, second: Boxes, other: int) -> bool:
    one, another = (
        boxes.outlines[at] if boxes.outlines else None for boxes, at in ((first, row), (second, other))
    )
    return same_outline(one, another, _SAME_PX)


def deduplicate(
    images: Sequence[CheckedImage],
    pictures: Sequence[str],
    refused: list[tuple[str, str]],
    problems: list[str],
    *,
    outlines: bool = False,
) -> list[int]:
    """Return the indices of the distinct images of a set.

    pictures: key of each image. Copies have the same key.
    outlines: whether copies with different outlines are different.
    If some copies have boxes and others have none, a copy with boxes is used, because the others are often
    unlabelled. `problems` gets a message. It is the same with outlines. Copies with different boxes or
    outlines are refused.
    """
    groups: dict[str, list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(picture, []).append(index)
    indices = []
    for group in groups.values():
        boxed = [index for index in group if not images[index].empty] or group[:1]
        drawn = [index for index in boxed if outlines and images[index].boxes.outlines]
        first = images[(drawn or boxed)[0]]
        names = ", ".join(images[index].path.name for index in group)
        if not all(first.has_labels(*_labels(images[index]), outlines=False) for index in boxed):
            reason = f"is left out: the same image has different boxes in {names}"
        elif not all(first.has_labels(*_labels(images[index]), outlines=True) for index in drawn):
            reason = f"is left out: the same image has different outlines in {names}"
        else:
            reason = ""
            indices.append((drawn or boxed)[0])
        if reason:
            refused += [(str(images[index].path), reason) for index in group]
        elif not first.empty and len(boxed) < len(group):
            problems.append(Problem(names, "the same image with and without boxes; the boxes are used"))
        elif drawn and len(drawn) < len(boxed):
            problems.append(Problem(names, "the same image with and without outlines; they are used"))
    return indices


def _labels(image: CheckedImage) -> tuple[Boxes, Boxes]:
    return image.boxes, image.ignored


def distinct_images(
    path: Path, classes: Sequence[str], problems: list[str], *, outlines: bool = False
) -> list[CheckedImage]:
    """Return the usable images of a COCO file by id, without their bytes, as they lie there.

    outlines: also read the outlines of boxes.
    `problems` gets what was left out, joined or converted. An image that would have to be converted is left
    out.
    """
    coco_set = read_coco(path, classes, masks=outlines)
    refused: list[tuple[str, str]] = []
    items = []
    for item in checked_images(coco_set, path, refused):
        if item.prepared.untouched:
            items.append(item.without_data)
        else:
            reason = "is rotated by an EXIF tag, or needs conversion: save it upright as JPEG or PNG"
            refused.append((str(item.path), reason))
    kept = deduplicate(items, [item.picture for item in items], refused, problems, outlines=outlines)
    problems += [one.of(path.name) if isinstance(one, Problem) else one for one in coco_set.problems]
    problems += [Problem(f"{path.name}, image {Path(name).name}", reason) for name, reason in refused]
    return sorted((items[index] for index in kept), key=lambda item: item.prepared.id)


def count_phrase(images: int, boxes: int, empty: int, regions: int, outlines: int | None = None) -> str:
    """Describe a set in one phrase: images, boxes, empty images, ignore regions if any.

    outlines: number of boxes with an outline; None in a workspace for boxes.
    """
    drawn = "" if outlines is None else f", {outlines} of them with an outline"
    counts = f"{images} images, {boxes} boxes{drawn}, {empty} images empty"
    return f"{counts}, {regions} ignore region{'s' if regions > 1 else ''}" if regions else counts


def empty_warning(images: int, empty: int) -> str:
    """Return a warning if most images of a COCO file have no boxes, else ""."""
    if empty <= _MOSTLY * images:
        return ""
    return (
        f"warning: {empty} of {images} images have no boxes: the file says that they show no objects. "
        "Remove unlabelled images from the file"
    )
