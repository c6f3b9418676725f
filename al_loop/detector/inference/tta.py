"""Test-time augmentation: augmented copies of an image, and the mapping of boxes to the original image.

`strategies.cald` measures how much predictions depend on the augmentation.
Source: Yu et al. 2022, section 3.2 (flip, cutout, smaller, turn) and its supplement (noise).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.random import Generator, default_rng

from al_loop.detector.transforms import Picture
from al_loop.structures.boxes import FloatArray

_SMALLER = 0.8
_TURN_DEG = 5.0
_HOLES, _HOLE = 4, 0.12  # number of holes, and their sides as a fraction of the image's sides
_NOISE = 8.0  # standard deviation, of 255


def augment(name: str, picture: Picture, image_id: str) -> Picture:
    """Return an augmented copy of an image. Its random numbers depend only on the image and the name."""
    seed = int.from_bytes(hashlib.sha256(f"{name} {image_id}".encode()).digest()[:8], "big")
    return np.ascontiguousarray(_AUGMENTATIONS[name](picture, default_rng(seed)))


def boxes_in_original(name: str, xyxy: FloatArray, width: int, height: int) -> FloatArray:
    """Return boxes (n, 4) of an augmented copy as boxes in the original image of width x height px.

    A rotated box becomes the axis-aligned box around its corners.
    """
    if name == "flip":
        return np.stack([width - xyxy[:, 2], xyxy[:, 1], width - xyxy[:, 0], xyxy[:, 3]], axis=1)
    if name == "turn":
        return _rotate_back(xyxy, width, height)
    return xyxy


def _flip(picture: Picture, rng: Generator) -> Picture:
    return picture[:, ::-1]


def _cut_out(picture: Picture, rng: Generator) -> Picture:
    height, width = picture.shape[:2]
    changed = picture.copy()
    for x, y in rng.uniform(0, 1 - _HOLE, (_HOLES, 2)):
        left, top = int(x * width), int(y * height)
        changed[top : top + max(1, int(_HOLE * height)), left : left + max(1, int(_HOLE * width))] = 128
    return changed


def _smaller(picture: Picture, rng: Generator) -> Picture:
    fy, fx = (max(_SMALLER, 1 / side) for side in picture.shape[:2])  # no side becomes shorter than a pixel
    return np.asarray(cv2.resize(picture, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA), np.uint8)


def _turn(picture: Picture, rng: Generator) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), _TURN_DEG, 1.0)
    rotated = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(rotated, np.uint8)


def _noise(picture: Picture, rng: Generator) -> Picture:
    noisy = picture + rng.normal(0, _NOISE, picture.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _rotate_back(xyxy: FloatArray, width: int, height: int) -> FloatArray:
    angle = math.radians(_TURN_DEG)  # OpenCV rotates counter-clockwise; y points downwards
    x = xyxy[:, [0, 2, 2, 0]] - width / 2
    y = xyxy[:, [1, 1, 3, 3]] - height / 2
    back_x = math.cos(angle) * x - math.sin(angle) * y + width / 2
    back_y = math.sin(angle) * x + math.cos(angle) * y + height / 2
    return np.stack([back_x.min(axis=1), back_y.min(axis=1), back_x.max(axis=1), back_y.max(axis=1)], axis=1)


_AUGMENTATIONS: Mapping[str, Callable[[Picture, Generator], Picture]] = MappingProxyType(
    {"flip": _flip, "cutout": _cut_out, "smaller": _smaller, "turn": _turn, "noise": _noise}
)
