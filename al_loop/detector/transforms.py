"""Read and resize images: the same code for training, validation and scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

from al_loop.core.errors import DataError
from al_loop.images import decode

Picture = NDArray[np.uint8]


def read_picture(path: Path | str, *, strict: bool = True) -> Picture:
    """Return the image as (h, w, 3) BGR. Orientation tags are not applied, because ingest has applied them.

    strict: refuse a JPEG with damaged data. Otherwise, its undecodable parts are grey.
    """
    return decode.read_picture(path, turn=False, strict=strict)


def decode_bytes(data: bytes, path: Path | str) -> Picture:
    """Decode the bytes of an image file as `read_picture` does. path: name of the file in errors."""
    try:
        return decode.decode_picture(data, turn=False).pixels
    except DataError as error:
        raise DataError(f"{path} {error}") from None


#: How an image is resized to a box: to fit inside; to fit inside after the box is turned so that the longer
#: sides match, as with mmdet's keep_ratio; or stretched to the size of the box.
WAYS = ("inside", "either-way", "stretch")


def fitted_size(
    width: int, height: int, box: tuple[int, int], enlarge: bool, way: str = "inside"
) -> tuple[int, int]:
    """Return (width, height) px of an image after `fit`. way: one of `WAYS`."""
    if way == "stretch":
        return box
    if way == "either-way" and (width > height) != (box[0] > box[1]):
        box = (box[1], box[0])
    factor = min(box[0] / width, box[1] / height)
    if not enlarge:
        factor = min(factor, 1.0)
    return max(1, round(width * factor)), max(1, round(height * factor))


def fit(picture: Picture, box: tuple[int, int], enlarge: bool, way: str = "inside") -> Picture:
    """Resize an image to fit into (width, height) px. Shrink it by area averaging. way: one of `WAYS`."""
    height, width = picture.shape[:2]
    size = fitted_size(width, height, box, enlarge, way)
    if size == (width, height):
        return picture
    interpolation = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), dtype=np.uint8)


@TRANSFORMS.register_module()
class ReadPicture(BaseTransform):  # type: ignore[misc]
    """Read an image into `img`."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read `img_path`."""
        # Only ingest refuses a damaged image: people have labelled its readable part.
        picture = read_picture(results["img_path"], strict=False)
        results.update(img=picture, img_shape=picture.shape[:2], ori_shape=picture.shape[:2])
        return results


@TRANSFORMS.register_module()
class FitInto(BaseTransform):  # type: ignore[misc]
    """Resize image and boxes as `fit` does."""

    def __init__(self, size: tuple[int, int], enlarge: bool = False, way: str = "inside") -> None:
        self.size = (size[0], size[1])
        self.enlarge = enlarge
        self.way = way

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Set `img`, `img_shape`, `scale_factor` and rescale `gt_bboxes`."""
        height, width = results["img"].shape[:2]
        picture = fit(results["img"], self.size, self.enlarge, self.way)
        scale = (picture.shape[1] / width, picture.shape[0] / height)
        results.update(img=picture, img_shape=picture.shape[:2], scale_factor=scale)
        if "gt_bboxes" in results:
            results["gt_bboxes"].rescale_(scale)
        return results
