"""Copy labelled objects from other images onto a training image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from numpy.typing import NDArray

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.outlines import Hull, fitted_mask, hull_of
from al_loop.detector.transforms import FitInto, Picture, fit, read_picture
from al_loop.structures.boxes import FloatArray, covered
from al_loop.structures.images import LabelledImage

#: Largest share of a box that a pasted object may cover. A rectangle that holds more of another object is not
#: copied. Nor is a box of which so much lies in an ignore region: its neighbours are unknown.
MAX_COVERED = 0.1
_MOST_OBJECTS = 3  # of one image
_PLACES = 20  # that are tried for an object
_FEATHER = 0.15  # width of the soft border around a box, as a share of its shorter side
_OUTLINE_FEATHER_PX = 2
_OBJECT_ALPHA = 0.8  # on the object, also after resizing
_CACHED_IMAGES = 64


@dataclass(frozen=True, eq=False)
class Patch:
    """An object and the pixels around it.

    alpha: (h, w) float32, 1 on the object, falling to 0 at the border of the patch.
    box: xyxy in px of the patch.
    cut: whether the object was cut out along its outline.
    """

    pixels: Picture
    alpha: NDArray[np.float32]
    box: FloatArray
    label: int
    cut: bool

    @property
    def shown(self) -> NDArray[np.bool_]:
        """The pixels of an object that was cut out, (h, w); none of another."""
        return np.asarray((self.alpha >= min(_OBJECT_ALPHA, self.alpha.max())) & self.cut)

    def hull_at(self, corner: NDArray[np.int64]) -> Hull:
        """Return the convex hull of an object that was cut out, (k, 2) px, pasted at a corner."""
        return hull_of(self.shown) + corner if self.cut else None

    def scaled(self, factor: float) -> Patch:
        """Return the patch with sides of `factor` times their length, at least one px."""
        height, width = self.alpha.shape
        size = max(1, round(width * factor)), max(1, round(height * factor))
        pixels, alpha = (cv2.resize(each, size) for each in (self.pixels, self.alpha))
        box = self.box * np.tile([size[0] / width, size[1] / height], 2)
        return replace(self, pixels=pixels, alpha=alpha, box=box)

    def mirrored(self) -> Patch:
        """Return the mirror image."""
        x1, y1, x2, y2 = self.box
        box = np.array([self.alpha.shape[1] - x2, y1, self.alpha.shape[1] - x1, y2])
        return replace(self, pixels=self.pixels[:, ::-1], alpha=self.alpha[:, ::-1], box=box)

    def turned(self) -> Patch:
        """Return the patch rotated by a quarter turn, counterclockwise."""
        x1, y1, x2, y2 = self.box
        box = np.array([y1, self.alpha.shape[1] - x2, y2, self.alpha.shape[1] - x1])
        return replace(self, pixels=np.rot90(self.pixels), alpha=np.rot90(self.alpha), box=box)


def patches_of(item: LabelledImage, fitting: FitInto, shape: str) -> list[Patch]:
    """Return the objects of an image that can be copied, at the scale of a training image.

    shape: what is copied of a box without an outline: the "box" or the "ellipse" inside it.
    """
    original = read_picture(item.image.path, strict=False)
    picture = fit(original, fitting.size, fitting.enlarge, fitting.way)
    scale = np.tile([picture.shape[1] / original.shape[1], picture.shape[0] / original.shape[0]], 2)
    boxes = item.boxes.xyxy * scale
    hidden = covered(boxes, boxes) * (1 - np.eye(len(boxes)))
    unknown = _among_unknown(item)
    outlines = item.boxes.outlines or (None,) * len(boxes)
    patches = []
    for row, (box, label, outline) in enumerate(zip(boxes, item.boxes.labels, outlines, strict=True)):
        mask = None if outline is None else fitted_mask(outline, original.shape, picture.shape)
        if mask is None and (unknown[row] or hidden[:, row].max(initial=0.0) > MAX_COVERED):
            continue
        patches.append(_patch(picture, box, int(label), mask, shape))
    return patches


def _patch(
    picture: Picture, box: FloatArray, label: int, mask: NDArray[np.uint8] | None, shape: str
) -> Patch:
    height, width = picture.shape[:2]
    border = _OUTLINE_FEATHER_PX if mask is not None else max(2.0, _FEATHER * (box[2:] - box[:2]).min())
    low = np.maximum(np.floor(box[:2] - border), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + border), (width, height)).astype(int)
    area = np.s_[low[1] : high[1], low[0] : high[0]]
    inside = box - np.tile(low, 2)
    drawn = _drawn(high - low, inside, shape) if mask is None else mask[area]
    distance = cv2.distanceTransform(1 - drawn, cv2.DIST_L2, 3)
    alpha = np.clip(1 - distance / (border + 1), 0, 1).astype(np.float32)
    return Patch(picture[area].copy(), alpha, inside, label, mask is not None)


def _drawn(size: NDArray[np.int64], box: FloatArray, shape: str) -> NDArray[np.uint8]:
    """Return a picture of a box, or of the ellipse inside it. size: width and height in px."""
    drawn = np.zeros(size[::-1], np.uint8)
    x1, y1 = (int(value) for value in np.floor(box[:2]))
    x2, y2 = (int(value) for value in np.ceil(box[2:]))
    if shape == "ellipse":
        cv2.ellipse(drawn, (((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1), 0.0), 1, cv2.FILLED)
    else:
        drawn[y1:y2, x1:x2] = 1
    return drawn


@TRANSFORMS.register_module()
class PasteObjects(BaseTransform):  # type: ignore[misc]
    """Paste up to three objects of another image onto an image with a seed.

    images: where the objects come from. fitting: options of `FitInto`, as for the training images.
    All classes are copied equally often. An object keeps its size, within the range of `zoom`. It covers at
    most a tenth of any box. Edges are feathered.
    Sources: Dwibedi 2017, Cut, Paste and Learn; Ghiasi 2021, Simple Copy-Paste.
    """

    def __init__(
        self, config: AugmentConfig, images: Sequence[LabelledImage], fitting: dict[str, Any]
    ) -> None:
        self.config = config
        self.images = [item for item in images if _has_source(item)]
        self.fitting = FitInto(**fitting)
        labels = [np.unique(item.boxes.labels) for item in self.images]
        classes = np.unique(np.concatenate([np.zeros(0, np.int64), *labels]))
        self.of_class = [[i for i, own in enumerate(labels) if label in own] for label in classes]
        self.classes = classes
        self._patches = lru_cache(_CACHED_IMAGES)(self._read)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: a cache cannot be sent."""
        return {**self.__dict__, "_patches": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with an empty cache."""
        self.__dict__.update(state)
        self._patches = lru_cache(_CACHED_IMAGES)(self._read)

    def _read(self, index: int) -> list[Patch]:
        return patches_of(self.images[index], self.fitting, self.config.copy_paste_shape)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change `img`, and extend `gt_bboxes`, `gt_bboxes_labels`, `gt_ignore_flags`, hulls and masks."""
        rng = np.random.default_rng([results["seed"], 1])
        if self.images and rng.random() < self.config.copy_paste:
            picture = results["img"].copy()
            boxes = results["gt_bboxes"].tensor.numpy().astype(np.float64)
            objects = boxes[~np.asarray(results["gt_ignore_flags"], np.bool_)]
            labels, rotates = list[int](), "hulls" in results
            for patch in self._drawn(rng):
                if (corner := _place(patch, picture.shape, objects, rng)) is not None:
                    _blend(picture, patch, corner)
                    pasted = patch.box[None] + np.tile(corner, 2)
                    boxes, objects = (np.concatenate([rows, pasted]) for rows in (boxes, objects))
                    labels.append(patch.label)
                    if rotates:
                        results["hulls"] = [*results["hulls"], patch.hull_at(corner)]
                    if "gt_masks" in results:
                        results["gt_masks"] = _masks_with(results["gt_masks"].masks, patch, corner)
            results.update(
                img=picture,
                gt_bboxes=HorizontalBoxes(boxes, dtype=results["gt_bboxes"].tensor.dtype),
                gt_bboxes_labels=np.append(results["gt_bboxes_labels"], np.array(labels, np.int64)),
                gt_ignore_flags=np.append(results["gt_ignore_flags"], np.zeros(len(labels), bool)),
            )
        return results

    def _drawn(self, rng: np.random.Generator) -> list[Patch]:
        """Return objects of one image: one of a random class, and up to two others."""
        kind = rng.integers(len(self.classes))
        patches = self._patches(rng.choice(self.of_class[kind]))
        order = rng.permutation(len(patches))
        first = [i for i in order if patches[i].label == self.classes[kind]][:1]
        others = [i for i in order if i not in first][: rng.integers(_MOST_OBJECTS)]
        return [self._varied(patches[i], rng) for i in [*first, *others]]

    def _varied(self, patch: Patch, rng: np.random.Generator) -> Patch:
        zoom = np.log1p(self.config.zoom)
        patch = patch.scaled(float(np.exp(rng.uniform(-zoom, zoom))))
        if self.config.hflip and rng.random() < 0.5:
            patch = patch.mirrored()
        for _ in range(rng.integers(4) if self.config.rotate90 else 0):
            patch = patch.turned()
        return patch


def _has_source(item: LabelledImage) -> bool:
    """Whether an object of the image may be copied: one with an outline, or outside ignore regions."""
    return bool((item.boxes.outlined | ~_among_unknown(item)).any())


def _among_unknown(item: LabelledImage) -> NDArray[np.bool_]:
    """Whether each box lies in an ignore region, (n,)."""
    return np.asarray(covered(item.boxes.xyxy, item.ignored.xyxy).max(axis=1, initial=0.0) > MAX_COVERED)


def _place(
    patch: Patch, shape: tuple[int, ...], boxes: FloatArray, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Return where the top left corner of a patch goes, px, so that its box lies inside the image.

    None if no place was found where it covers little of the boxes.
    """
    least = -np.floor(patch.box[:2]).astype(np.int64)
    most = np.floor((shape[1], shape[0]) - patch.box[2:]).astype(np.int64)
    if (most < least).any():
        return None
    for corner in rng.integers(least, most + 1, (_PLACES, 2)):
        box = patch.box + np.tile(corner, 2)
        if covered(boxes, box[None]).max(initial=0.0) <= MAX_COVERED:
            return np.asarray(corner)
    return None


def _blend(picture: Picture, patch: Patch, corner: NDArray[np.int64]) -> None:
    """Paste a patch in place. Its border may lie outside the image."""
    here, part = _windows(patch, picture.shape, corner)
    alpha = patch.alpha[part][..., None]
    picture[here] = np.rint(picture[here] * (1 - alpha) + patch.pixels[part] * alpha)


def _masks_with(masks: NDArray[np.uint8], patch: Patch, corner: NDArray[np.int64]) -> BitmapMasks:
    """Return the masks (n, h, w) of an image, and that of a pasted patch, which hides what is behind it.

    The last one is all 0 if the object has no outline.
    """
    here, part = _windows(patch, masks.shape[1:], corner)
    pasted = np.zeros((1, *masks.shape[1:]), np.uint8)
    pasted[0][here] = patch.shown[part]
    left = masks.copy()
    left[:, *here] *= patch.alpha[part] < 0.5
    return BitmapMasks(np.concatenate([left, pasted]), *masks.shape[1:])


def _windows(
    patch: Patch, shape: tuple[int, ...], corner: NDArray[np.int64]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of an image (h, w, ...) that a patch at a corner covers, and this part of the patch."""
    size = np.array(patch.alpha.shape)[::-1]
    low, high = np.maximum(corner, 0), np.minimum(corner + size, shape[1::-1])
    (x1, y1), (x2, y2) = low - corner, high - corner
    return np.s_[low[1] : high[1], low[0] : high[0]], np.s_[y1:y2, x1:x2]
