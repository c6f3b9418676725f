"""Read, resize and augment images: the same code for training, validation and scoring."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from numpy.typing import NDArray

from al_loop.core.errors import DataError
from al_loop.images import decode

# By default, Albumentations looks for a newer release of itself at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812

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


@TRANSFORMS.register_module()
class Augment(BaseTransform):  # type: ignore[misc]
    """Augment with Albumentations: flip, shift, scale, colour jitter, Gaussian noise and blur.

    rotate90: also flip vertically and rotate by 90 degrees, for objects without a fixed orientation.
    rank, processes: index and number of the processes of one training.
    A box that loses more than 70 % of its area at the border is dropped.
    Source: Eversberg & Lambrecht 2024, section 3.3 (the list of augmentations).
    """

    def __init__(self, rotate90: bool = False, rank: int = 0, processes: int = 1) -> None:
        self.rank, self.processes = rank, processes
        self.pipeline = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                *([A.VerticalFlip(p=0.5), A.RandomRotate90(p=0.5)] if rotate90 else []),
                A.Affine(
                    translate_percent=(-0.1, 0.1),
                    scale=(0.8, 1.25),
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=0.5,
                ),
                A.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.05, p=0.7),
                A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
                A.GaussianBlur(blur_limit=(3, 5), p=0.2),
            ],
            bbox_params=A.BboxParams(
                format="pascal_voc", label_fields=["index"], min_visibility=0.3, clip=True
            ),
        )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Augment `img`, `gt_bboxes`, `gt_bboxes_labels` and `gt_ignore_flags` together."""
        boxes = results["gt_bboxes"].tensor.numpy().astype(np.float64)
        # mmengine seeds numpy's global generator in each worker. Every process draws the seeds of all images
        # in the order of one process, and uses its part.
        self.pipeline.set_random_seed(int(np.random.randint(2**31, size=self.processes)[self.rank]))
        augmented = self.pipeline(image=results["img"], bboxes=boxes, index=np.arange(len(boxes)))
        rows = np.asarray(augmented["index"], dtype=np.int64)
        new_boxes = np.asarray(augmented["bboxes"], dtype=np.float32).reshape(-1, 4)
        picture = np.ascontiguousarray(augmented["image"])
        results.update(
            img=picture,
            img_shape=picture.shape[:2],
            gt_bboxes=HorizontalBoxes(new_boxes, dtype=results["gt_bboxes"].tensor.dtype),
            gt_bboxes_labels=results["gt_bboxes_labels"][rows],
            gt_ignore_flags=results["gt_ignore_flags"][rows],
        )
        return results
