"""Random changes of a training image and its boxes."""

from __future__ import annotations

import os
from math import ceil
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from numpy.typing import NDArray

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.outlines import box_around, joined
from al_loop.structures.boxes import FloatArray, covered

# By default, Albumentations looks for a newer release of itself at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812

#: A box is dropped if less than this share of it stays visible.
MIN_VISIBLE = 0.3
_LEAST_HIDDEN = 0.02  # smallest share that `cutout` and `erase` hide
_GREY = 114  # beside an image that is rotated, as in mmdet
_OBJECT, _REGION = 0, 1


class _Hiding:
    """A dropout that keeps boxes as they are, and drops those that it hides.

    Albumentations would cut them to the visible part, and round all boxes of the image to pixels.
    """

    def apply_to_bboxes(self, bboxes: NDArray[np.float32], holes: NDArray[Any], **params: Any) -> Any:
        """Return the rows of visible boxes. bboxes: (n, 4+) as shares of the image. holes: (m, 4) px."""
        height, width = params["shape"][:2]
        hidden = covered(bboxes[:, :4] * (width, height, width, height), holes.reshape(-1, 4))
        return bboxes[hidden.max(axis=1, initial=0.0) <= 1 - MIN_VISIBLE]


class Cutout(_Hiding, A.Erasing):  # type: ignore[misc]
    """Hide a rectangle of the image. Source: Zhong 2020, Random Erasing."""


class EraseObjects(_Hiding, A.ConstrainedCoarseDropout):  # type: ignore[misc]
    """Hide a rectangle of each box."""


def rotates(config: AugmentConfig) -> bool:
    """Whether boxes do not stay tight without the outlines of the objects."""
    return config.rotate > 0 or config.shear > 0


def mirrors(config: AugmentConfig) -> bool:
    """Whether an image that is shifted or scaled goes on as its mirror image."""
    return config.hflip and not rotates(config)


def geometry(config: AugmentConfig) -> list[A.BasicTransform]:
    """Return the transforms that move pixels.

    A rotated or sheared box without an outline becomes the box around the ellipse inside it. The box around
    its corners would be up to 1.4 times as large as the object on each side.
    An image that is only shifted or scaled goes on as its mirror image, with the boxes there. Others go on in
    grey.
    """
    turned = rotates(config)
    transforms: list[A.BasicTransform] = []
    if config.hflip:
        transforms.append(A.HorizontalFlip(p=0.5))
    if config.rotate90:
        transforms.append(A.RandomRotate90(p=1.0))
    if turned or config.shift or config.zoom:
        affine = A.Affine(
            translate_percent=(-config.shift, config.shift),
            scale=(1 / (1 + config.zoom), 1 + config.zoom),
            keep_ratio=True,
            rotate=(-config.rotate, config.rotate),
            shear=(-config.shear, config.shear),
            rotate_method="ellipse" if turned else "largest_box",
            mask_interpolation=cv2.INTER_LINEAR,  # as of the image
            border_mode=cv2.BORDER_REFLECT_101 if mirrors(config) else cv2.BORDER_CONSTANT,
            fill=_GREY,
            p=0.5,
        )
        transforms.append(affine)
    return transforms


def appearance(config: AugmentConfig) -> list[A.BasicTransform]:
    """Return the transforms that change pixels where they are. Probabilities: Unbiased Teacher (Liu 2021)."""
    colour, noise, blur = config.colour, config.noise, config.blur
    transforms: list[A.BasicTransform] = []
    if colour:
        transforms.append(A.ColorJitter(colour, colour, colour, colour / 4, p=0.8))
    if config.grayscale:
        transforms.append(A.ToGray(p=config.grayscale))
    if noise:
        transforms.append(A.GaussNoise(std_range=(min(0.01, noise), noise), p=0.3))
    if blur:
        transforms.append(A.GaussianBlur(blur_limit=0, sigma_limit=(min(0.1, blur), blur), p=0.5))
    if config.cutout:
        transforms.append(Cutout(scale=_shares(config.cutout), fill="random", p=0.5))
    if config.erase:
        low, high = _shares(config.erase)
        sides = (low**0.5, high**0.5)
        transforms.append(
            EraseObjects((1, 1), sides, sides, fill="random", bbox_labels=[_OBJECT], p=0.5),
        )
    return transforms


def _shares(largest: float) -> tuple[float, float]:
    return min(_LEAST_HIDDEN, largest), largest


@TRANSFORMS.register_module()
class Augment(BaseTransform):  # type: ignore[misc]
    """Apply the changes of the settings to an image. `seed` decides all that is random.

    If these rotate or shear, the image also has hulls. A mask moves with the pixels of the image, and stays
    whole where a rectangle hides the object, as the box does.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.rotates = rotates(config)
        self.mirrors = mirrors(config)
        points = A.KeypointParams(format="xy", label_fields=["owner"], remove_invisible=False)
        self.pipeline = A.Compose(
            # Without a transform that takes boxes, Albumentations warns.
            [*geometry(config), *appearance(config), A.NoOp()],
            bbox_params=A.BboxParams(
                format="pascal_voc", label_fields=["kind", "index"], min_visibility=MIN_VISIBLE, clip=True
            ),
            keypoint_params=points if self.rotates else None,
        )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Augment `img`, `gt_bboxes`, `gt_bboxes_labels`, `gt_ignore_flags` and masks together."""
        boxes = results["gt_bboxes"].tensor.numpy().astype(np.float64)
        kind = np.where(results["gt_ignore_flags"], _REGION, _OBJECT)
        self.pipeline.set_random_seed(results["seed"])
        labels = {"bboxes": boxes, "kind": kind, "index": np.arange(len(boxes))}
        if self.rotates:
            corners, owner = joined(results["hulls"])
            # The origin of Albumentations is the centre of the first pixel for points, its corner for boxes.
            labels |= {"keypoints": corners - 0.5, "owner": owner}
        drawn = results["gt_masks"].masks.any(axis=(1, 2)) if "gt_masks" in results else np.zeros(0, bool)
        if drawn.any():
            labels["masks"] = results["gt_masks"].masks[drawn] * np.uint8(255)
        augmented = self.pipeline(image=results["img"], **labels)
        rows = np.asarray(augmented["index"], dtype=np.int64)
        new_boxes = np.asarray(augmented["bboxes"], dtype=np.float64).reshape(-1, 4)
        picture = np.ascontiguousarray(augmented["image"])
        if self.rotates:
            corners, owner = np.asarray(augmented["keypoints"]) + 0.5, np.asarray(augmented["owner"])
            size = picture.shape[1], picture.shape[0]
            for place, row in enumerate(rows):
                if (hull := results["hulls"][row]) is not None:
                    box = box_around(hull, boxes[row], corners[owner == row], size)
                    # Little of the object may be inside the image, and more of the ellipse.
                    new_boxes[place] = box if (box[2:] - box[:2] >= 1).all() else new_boxes[place]
        results.update(
            img=picture,
            img_shape=picture.shape[:2],
            gt_bboxes=HorizontalBoxes(new_boxes.astype(np.float32), dtype=results["gt_bboxes"].tensor.dtype),
            gt_bboxes_labels=results["gt_bboxes_labels"][rows],
            gt_ignore_flags=results["gt_ignore_flags"][rows],
        )
        if "gt_masks" in results:
            masks = np.zeros((len(drawn), *picture.shape[:2]), np.uint8)
            masks[drawn] = np.asarray(augmented["masks"]) >= 128 if drawn.any() else 0
            results["gt_masks"] = _within(masks[rows], new_boxes if self.mirrors else None)
        return results


def _within(masks: NDArray[np.uint8], boxes: FloatArray | None) -> BitmapMasks:
    """Return the part of each mask, (n, h, w), inside its box: the rest belongs to its mirror images."""
    if boxes is not None:
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            inside = mask[int(y1) : ceil(y2), int(x1) : ceil(x2)].copy()
            mask[:] = 0
            mask[int(y1) : ceil(y2), int(x1) : ceil(x2)] = inside
    return BitmapMasks(masks, *masks.shape[1:])
