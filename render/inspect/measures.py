"""Measures of a labelled set, and of the difference between two sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from render.coco import LabelledSet
from render.core.errors import PictureError
from render.pixels.decode import read_picture

Array = NDArray[np.float64]
#: Most images that are read; more would not change the statistics.
IMAGES_READ = 400
#: Cells of the position map along each side.
MAP_CELLS = 32
# Enlarging an image lowers its Laplacian variance, so images are compared at one size.
_LARGEST_SIDE_PX = 640


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of one set.

    pictures, boxes: number of images and of boxes.
    empty: number of images without a box.
    unread: number of images whose file is missing or broken.
    values: measure -> (n,) one number per box or per image.
    position: (MAP_CELLS, MAP_CELLS) share of the boxes that cover a cell of the image.
    shares: category -> its share of the boxes.
    size_by_category: category -> (n,) sizes.
    """

    name: str
    pictures: int
    boxes: int
    empty: int
    unread: int
    values: Mapping[str, Array]
    position: Array
    shares: Mapping[str, float]
    size_by_category: Mapping[str, Array]


def measure(data: LabelledSet, side_px: int) -> Measures:
    """Measure boxes and images; images are first resized to a longest side of `side_px`."""
    sizes, seen = data.sizes_px, np.flatnonzero(np.bincount(data.category, minlength=len(data.categories)))
    size = np.sqrt(data.bbox[:, 2:].prod(axis=1) / sizes.prod(axis=1))
    centre = (data.bbox[:, :2] + data.bbox[:, 2:] / 2) / sizes
    image_measures, unread = _image_measures(data, side_px)
    values = {
        "size": size,
        "aspect": data.bbox[:, 2] / data.bbox[:, 3],
        "position x": centre[:, 0],
        "position y": centre[:, 1],
        "boxes per image": np.bincount(data.image, minlength=len(data.pictures)).astype(np.float64),
        **image_measures,
    }
    return Measures(
        name=data.name,
        pictures=len(data.pictures),
        boxes=len(data.bbox),
        empty=data.empty,
        unread=unread,
        values={name: value for name, value in values.items() if len(value)},
        position=_position_map(data),
        shares={data.categories[c]: float((data.category == c).mean()) for c in seen},
        size_by_category={data.categories[c]: size[data.category == c] for c in seen},
    )


def common_side(sets: Sequence[LabelledSet]) -> int:
    """Return the longest side in px at which images are compared: the smallest median of the sets."""
    medians = [np.median([max(p.width, p.height) for p in data.pictures]) for data in sets if data.pictures]
    return min([*map(int, medians), _LARGEST_SIDE_PX])


def image_statistics(path: Path, side_px: int) -> tuple[float, float, float, float] | None:
    """Return brightness, contrast, sharpness and saturation of an image; None if it cannot be read.

    Brightness, contrast: mean and standard deviation of grey in [0, 1].
    Sharpness: variance of the Laplacian of grey in [0, 255].
    Saturation: mean S of HSV in [0, 1].
    """
    import cv2

    try:
        image = read_picture(path)
    except PictureError:
        return None
    scale = side_px / max(image.shape[:2])
    if scale < 1:
        fy, fx = (max(scale, 1 / side) for side in image.shape[:2])  # no side below one pixel
        image = cv2.resize(image, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA)
    elif scale > 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    saturation = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[..., 1]
    laplacian = cv2.Laplacian(grey, cv2.CV_64F)
    return (
        float(grey.mean()) / 255,
        float(grey.std()) / 255,
        float(laplacian.var()),
        float(saturation.mean()) / 255,
    )


def ks_noise(n: int, m: int) -> float:
    """Return the 95th percentile of the Kolmogorov-Smirnov distance of two samples of one distribution."""
    return float(1.358 * np.sqrt((n + m) / (n * m)))


def total_variation(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Return the total variation distance of two class distributions, in [0, 1]."""
    return sum(abs(a.get(name, 0.0) - b.get(name, 0.0)) for name in {*a, *b}) / 2


def variation_noise(a: Mapping[str, float], n: int, b: Mapping[str, float], m: int, rng: Generator) -> float:
    """Return the 95th percentile of the total variation of two samples of the pooled shares."""
    pooled = np.array([(n * a.get(k, 0.0) + m * b.get(k, 0.0)) / (n + m) for k in sorted({*a, *b})])
    pooled /= pooled.sum()
    first, second = rng.multinomial(n, pooled, 400) / n, rng.multinomial(m, pooled, 400) / m
    return float(np.quantile(np.abs(first - second).sum(axis=1) / 2, 0.95))


def _position_map(data: LabelledSet) -> Array:
    """Return the share of the boxes that cover each cell of the image; row 0 is the top."""
    total = np.zeros((MAP_CELLS, MAP_CELLS))
    scale = MAP_CELLS / np.tile(data.sizes_px, 2)
    for x, y, w, h in data.bbox * scale:
        left, top = max(0, int(x)), max(0, int(y))
        total[top : int(np.ceil(y + h)), left : int(np.ceil(x + w))] += 1
    return total / max(1, len(data.bbox))


def _image_measures(data: LabelledSet, side_px: int) -> tuple[dict[str, Array], int]:
    names = ("brightness", "contrast", "sharpness", "saturation")
    chosen = np.unique(np.linspace(0, len(data.pictures) - 1, IMAGES_READ).astype(int))
    measured = [
        None if data.pictures[i].path is None else image_statistics(Path(str(data.pictures[i].path)), side_px)
        for i in (chosen if data.pictures else [])
    ]
    rows = np.array([row for row in measured if row is not None], dtype=np.float64).reshape(-1, len(names))
    return {name: rows[:, i] for i, name in enumerate(names)}, len(measured) - len(rows)


#: Measure -> (definition, keys of a recipe that change it).
MEANING = {
    "size": ("√(box area ÷ image area)", "size_m of the parts or defects, cameras.view_m"),
    "aspect": ("box width ÷ height", "forms and pose of the parts, aspect of the defects, cameras.tilt_deg"),
    "position x": ("box centre ÷ image width", "layout.spread, cameras.offset"),
    "position y": ("box centre ÷ image height", "layout.spread, cameras.offset, cameras.tilt_deg"),
    "boxes per image": ("", "count and probability of the parts, defects.per_scene"),
    "brightness": ("mean grey, 0 to 1", "sensor.exposure, light.strength, stage.value"),
    "contrast": ("deviation of grey, 0 to 1", "light.lamps against light.strength, sensor.gamma"),
    "sharpness": (
        "variance of the Laplacian",
        "sensor.blur_px, sensor.sharpen, sensor.noise, cameras.f_number",
    ),
    "saturation": ("mean saturation, 0 to 1", "colours of materials and stage, sensor.saturation"),
    "class shares": ("", "weight of the defects or forms, count of the parts"),
}


@dataclass(frozen=True)
class Gap:
    """Difference in one measure between the rendered set and the photographs.

    distance: Kolmogorov-Smirnov (class shares: total variation); 0: same, 1: nothing in common.
    noise: distance by chance alone, 95th percentile.
    wasserstein: Wasserstein distance, in the unit of the measure.
    says: the difference in words.
    """

    measure: str
    distance: float
    noise: float
    wasserstein: float
    says: str

    @property
    def real(self) -> bool:
        """Whether the distance is more than chance."""
        return self.distance > self.noise


@dataclass(frozen=True, eq=False)
class Report:
    """Measures of a set and of the photographs it is compared with, and the gaps, largest first."""

    rendered: Measures
    real: Measures | None
    gaps: tuple[Gap, ...]
    size_gaps: tuple[Gap, ...]
    side_px: int
