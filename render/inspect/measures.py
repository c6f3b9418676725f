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
#: Pictures that are opened at most; their statistics do not change beyond it.
PICTURES_READ = 400
#: Cells of the position map along each side.
MAP_CELLS = 32
# Laplacian variance falls with every enlargement, so pictures are compared at one scale.
_LARGEST_SIDE_PX = 640


@dataclass(frozen=True, eq=False)
class Measures:
    """values: name of a measure -> (n,) one number per box or per picture, without unit.

    position: (MAP_CELLS, MAP_CELLS) share of the boxes that cover a cell of the picture.
    shares: category -> its share of the boxes.  size_by_category: category -> (n,) sizes.
    empty: pictures without a box.  unread: pictures whose file is missing or broken.
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
    """Measure boxes and pictures; pictures are brought to a longest side of `side_px` first."""
    sizes, seen = data.sizes_px, np.flatnonzero(np.bincount(data.category, minlength=len(data.categories)))
    size = np.sqrt(data.bbox[:, 2:].prod(axis=1) / sizes.prod(axis=1))
    centre = (data.bbox[:, :2] + data.bbox[:, 2:] / 2) / sizes
    looks, unread = _looks(data, side_px)
    values = {
        "size": size,
        "aspect": data.bbox[:, 2] / data.bbox[:, 3],
        "position x": centre[:, 0],
        "position y": centre[:, 1],
        "boxes per image": np.bincount(data.image, minlength=len(data.pictures)).astype(np.float64),
        **looks,
    }
    return Measures(
        name=data.name,
        pictures=len(data.pictures),
        boxes=len(data.bbox),
        empty=data.empty,
        unread=unread,
        values={name: value for name, value in values.items() if len(value)},
        position=_covered(data),
        shares={data.categories[c]: float((data.category == c).mean()) for c in seen},
        size_by_category={data.categories[c]: size[data.category == c] for c in seen},
    )


def common_side(sets: Sequence[LabelledSet]) -> int:
    """Longest side in px at which pictures of all sets are compared: that of the smallest set's pictures."""
    medians = [np.median([max(p.width, p.height) for p in data.pictures]) for data in sets if data.pictures]
    return min([*map(int, medians), _LARGEST_SIDE_PX])


def picture_look(path: Path, side_px: int) -> tuple[float, float, float, float] | None:
    """Brightness, contrast, sharpness and saturation of a picture; None when it cannot be read.

    Brightness and contrast: mean and deviation of grey in [0, 1].  Sharpness: variance of the Laplacian of
    grey in [0, 255].  Saturation: mean of HSV's S in [0, 1].
    """
    import cv2

    try:
        picture = read_picture(path)
    except PictureError:
        return None
    scale = side_px / max(picture.shape[:2])
    if scale < 1:
        fy, fx = (max(scale, 1 / side) for side in picture.shape[:2])  # no side of less than a pixel
        picture = cv2.resize(picture, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA)
    elif scale > 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    saturation = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1]
    laplacian = cv2.Laplacian(grey, cv2.CV_64F)
    return (
        float(grey.mean()) / 255,
        float(grey.std()) / 255,
        float(laplacian.var()),
        float(saturation.mean()) / 255,
    )


def ks_noise(n: int, m: int) -> float:
    """Kolmogorov-Smirnov distance that two samples of one distribution stay below in 95 of 100 cases."""
    return float(1.358 * np.sqrt((n + m) / (n * m)))


def total_variation(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Share of the boxes that would need another category, in [0, 1]."""
    return sum(abs(a.get(name, 0.0) - b.get(name, 0.0)) for name in {*a, *b}) / 2


def variation_noise(a: Mapping[str, float], n: int, b: Mapping[str, float], m: int, rng: Generator) -> float:
    """Total variation that two samples of the pooled shares stay below in 95 of 100 cases."""
    pooled = np.array([(n * a.get(k, 0.0) + m * b.get(k, 0.0)) / (n + m) for k in sorted({*a, *b})])
    pooled /= pooled.sum()
    first, second = rng.multinomial(n, pooled, 400) / n, rng.multinomial(m, pooled, 400) / m
    return float(np.quantile(np.abs(first - second).sum(axis=1) / 2, 0.95))


def _covered(data: LabelledSet) -> Array:
    """Share of the boxes over each cell of the picture; row 0 is the top."""
    total = np.zeros((MAP_CELLS, MAP_CELLS))
    scale = MAP_CELLS / np.tile(data.sizes_px, 2)
    for x, y, w, h in data.bbox * scale:
        left, top = max(0, int(x)), max(0, int(y))
        total[top : int(np.ceil(y + h)), left : int(np.ceil(x + w))] += 1
    return total / max(1, len(data.bbox))


def _looks(data: LabelledSet, side_px: int) -> tuple[dict[str, Array], int]:
    names = ("brightness", "contrast", "sharpness", "saturation")
    chosen = np.unique(np.linspace(0, len(data.pictures) - 1, PICTURES_READ).astype(int))
    measured = [
        None if data.pictures[i].path is None else picture_look(Path(str(data.pictures[i].path)), side_px)
        for i in (chosen if data.pictures else [])
    ]
    rows = np.array([look for look in measured if look is not None], dtype=np.float64).reshape(-1, len(names))
    return {name: rows[:, i] for i, name in enumerate(names)}, len(measured) - len(rows)


#: What a measure says, and which keys of a recipe move it.
MEANING = {
    "size": ("√(box area ÷ picture area)", "size_m of the parts or defects, cameras.view_m"),
    "aspect": ("box width ÷ height", "forms and pose of the parts, aspect of the defects, cameras.tilt_deg"),
    "position x": ("box centre ÷ picture width", "layout.spread, cameras.offset"),
    "position y": ("box centre ÷ picture height", "layout.spread, cameras.offset, cameras.tilt_deg"),
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
    """How far one measure of the rendered set is from the photographs'.

    distance: Kolmogorov-Smirnov (class shares: total variation), 0 the same, 1 nothing in common.
    noise: distance by chance alone.  wasserstein: mean shift in the measure's own unit.  says: in words.
    """

    measure: str
    distance: float
    noise: float
    wasserstein: float
    says: str

    @property
    def real(self) -> bool:
        """Whether it is more than chance."""
        return self.distance > self.noise


@dataclass(frozen=True, eq=False)
class Report:
    """Measures of a set, of the photographs it is held against, and the gaps, largest first."""

    rendered: Measures
    real: Measures | None
    gaps: tuple[Gap, ...]
    size_gaps: tuple[Gap, ...]
    side_px: int
