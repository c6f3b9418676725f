"""The background of a scene: a crop of a photograph, or a procedural pattern. Linear RGB."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from render.core.colour import decoded
from render.core.errors import AssetError
from render.core.spec import BackgroundSpec

FloatArray = NDArray[np.float32]


def backdrop(spec: BackgroundSpec, width: int, height: int, level: float | None = None) -> FloatArray:
    """Return the background (height, width, 3) of a photo or procedural spec.

    level: mean light of the foreground. The background is scaled to `gain` times this level, so that one
        exposure suits both. None: it is scaled by `gain` alone.

    Raises AssetError for a photo that cannot be read.
    """
    make = _photo if spec.kind == "photo" else _pattern
    image = make(spec, width, height)
    gain = spec.gain if level is None else spec.gain * level / max(float(image.mean()), 1e-6)
    return np.ascontiguousarray(image * np.float32(gain), dtype=np.float32)


def foreground_level(light: FloatArray, alpha: FloatArray) -> float | None:
    """Return the mean light of the foreground (alpha above 0.5); None if there is no foreground."""
    before = alpha > 0.5
    return float(light[before].mean()) if before.any() else None


def composite(light: FloatArray, alpha: FloatArray, background: FloatArray) -> FloatArray:
    """Composite a render (h, w, 3), premultiplied by its alpha (h, w), over a background (h, w, 3)."""
    clear = 1 - np.clip(alpha, 0, 1)
    return np.asarray(light + clear[..., None] * background, np.float32)


# ---- photographs -----------------------------------------------------------------------------------------


def _photo(spec: BackgroundSpec, width: int, height: int) -> FloatArray:
    image = np.rot90(_read(Path(spec.photo), max(width, height), spec.crop[2]), spec.quarter_turns)
    if spec.flip:
        image = image[:, ::-1]
    x, y, w, h = window(image.shape[1], image.shape[0], width / height, spec.crop)
    cut = np.ascontiguousarray(image[y : y + h, x : x + w])
    how = cv2.INTER_AREA if w > width else cv2.INTER_CUBIC
    # Cubic interpolation overshoots at edges.
    sized = cv2.resize(_linear(cut), (width, height), interpolation=how)
    return np.asarray(np.clip(sized, 0, None), np.float32)


def window(
    width: int, height: int, aspect: float, crop: tuple[float, float, float]
) -> tuple[int, int, int, int]:
    """Return (x, y, w, h) in pixels of a crop.

    aspect: width over height.
    crop: (x, y, share), relative to the largest centred window of this aspect: upper left corner, and side.
    """
    full_w, full_h = min(width, height * aspect), min(height, width / aspect)
    share = min(1.0, crop[2])
    w, h = max(1, round(full_w * share)), max(1, round(full_h * share))
    x = round((width - full_w) / 2 + min(crop[0], 1 - share) * full_w)
    y = round((height - full_h) / 2 + min(crop[1], 1 - share) * full_h)
    return min(x, width - w), min(y, height - h), w, h


def _read(path: Path, needed: int, share: float) -> NDArray[np.generic]:
    """Read RGB (h, w, 3), rotated by EXIF; a JPEG far larger than needed is decoded at lower resolution."""
    try:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
        if path.suffix.lower() in (".jpg", ".jpeg"):
            with Image.open(path) as photo:
                spare = min(photo.size) * share / needed
            flags = next((f for least, f in _REDUCED if spare >= least), cv2.IMREAD_COLOR)
        if path.suffix.lower() == ".exr":
            os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # OpenCV reads EXR only if this is set
        image = cv2.imread(str(path), flags)
    except (OSError, UnidentifiedImageError, cv2.error) as error:
        raise AssetError(f"expected a photograph at {path}, got: {error}") from error
    if image is None:
        raise AssetError(f"expected a photograph at {path}, got a file that cannot be read as one")
    return np.asarray(image[..., ::-1])


_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def _linear(image: NDArray[np.generic]) -> FloatArray:
    """Convert stored pixels to linear light: integers are sRGB, floats are already linear."""
    if image.dtype == np.uint8:
        return np.asarray(decoded(np.arange(256, dtype=np.float32) / 255)[image], np.float32)
    if image.dtype == np.uint16:
        return decoded(image.astype(np.float32) / 65535)
    return np.asarray(np.clip(np.nan_to_num(image), 0, None), np.float32)


# ---- patterns --------------------------------------------------------------------------------------------


def _pattern(spec: BackgroundSpec, width: int, height: int) -> FloatArray:
    """Draw one of the patterns under uneven light."""
    rng = np.random.default_rng(spec.seed)
    colours = np.array(spec.colours or rng.uniform(0.02, 0.8, (3, 3)), np.float32)
    if len(colours) < 2:
        colours = np.concatenate([colours, colours * 0.4])
    draw = list(PATTERNS.values())[int(rng.integers(len(PATTERNS)))]
    image = draw(rng, width, height, colours)
    light = 1 + rng.uniform(0, 0.4) * (2 * _field(rng, width, height, 2) - 1)
    return np.asarray(np.clip(image * light[..., None], 0, None), np.float32)


def _gradient(rng: Generator, width: int, height: int, colours: FloatArray) -> FloatArray:
    """Draw a linear or radial gradient through the colours."""
    x, y = _grid(width, height)
    if rng.uniform() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
    else:
        along = np.hypot(x - rng.uniform(-0.5, 0.5), y - rng.uniform(-0.5, 0.5))
    return _map_colours(_normalised(along), colours)


def _clouds(rng: Generator, width: int, height: int, colours: FloatArray) -> FloatArray:
    """Draw noise of several octaves."""
    first = int(rng.integers(2, 6))
    layers = [0.55**i * _field(rng, width, height, first * 2**i) for i in range(6)]
    return _map_colours(_normalised(sum(layers, start=np.zeros((height, width), np.float32))), colours)


def _stripes(rng: Generator, width: int, height: int, colours: FloatArray) -> FloatArray:
    """Draw straight or wavy bands, sometimes crossed by a second set."""
    x, y = _grid(width, height)
    wave = rng.uniform(0, 0.3) * _field(rng, width, height, 3)
    sets = []
    for _ in range(int(rng.integers(1, 3))):
        angle, count = rng.uniform(0, np.pi), rng.uniform(4, 30)
        place = (x * np.cos(angle) + y * np.sin(angle) + wave) * count
        sets.append(colours[np.floor(place).astype(np.int64) % len(colours)])
    return np.asarray(np.mean(sets, axis=0), np.float32)


def _cells(rng: Generator, width: int, height: int, colours: FloatArray) -> FloatArray:
    """Draw Voronoi cells that look like cobbles, darker at the joints."""
    count = int(rng.integers(20, 200))
    points = rng.uniform((0, 0), (width, height), (count, 2)).astype(np.float32)
    seeds = np.full((height, width), 255, np.uint8)
    columns = np.minimum(points.astype(np.int64), (width - 1, height - 1))
    seeds[columns[:, 1], columns[:, 0]] = 0
    away, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    shades = colours[rng.integers(len(colours), size=count + 1)] * rng.uniform(0.6, 1.2, (count + 1, 1))
    joint = 1 - rng.uniform(0, 0.7) * np.clip(away / (np.sqrt(width * height / count)), 0, 1) ** 2
    return np.asarray(shades[nearest] * joint[..., None], np.float32)


def _shapes(rng: Generator, width: int, height: int, colours: FloatArray) -> FloatArray:
    """Draw clutter: overlapping discs, boxes and lines of any size."""
    image = np.empty((height, width, 3), np.float32)
    image[:] = colours[0]
    side = max(width, height)
    for _ in range(int(rng.integers(15, 80))):
        shade = (colours[int(rng.integers(len(colours)))] * rng.uniform(0.4, 1.3)).tolist()
        x, y = rng.uniform((0, 0), (width, height))
        size, angle = side * rng.uniform(0.01, 0.2), rng.uniform(0, 180)
        form = int(rng.integers(3))
        if form == 0:
            cv2.circle(image, (int(x), int(y)), max(1, int(size / 2)), shade, -1, cv2.LINE_AA)
        elif form == 1:
            box = cv2.boxPoints(((x, y), (size, size * rng.uniform(0.2, 1)), angle))
            cv2.fillPoly(image, [box.astype(np.int32)], shade, cv2.LINE_AA)
        else:
            end = (int(x + 3 * size * np.cos(angle)), int(y + 3 * size * np.sin(angle)))
            cv2.line(image, (int(x), int(y)), end, shade, max(1, int(size / 12)), cv2.LINE_AA)
    soft = cv2.GaussianBlur(image, (0, 0), 0.3 + side * rng.uniform(0, 0.01))
    return np.asarray(soft, np.float32)


def _bokeh(rng: Generator, width: int, height: int, colours: FloatArray) -> FloatArray:
    """Draw a room out of focus: soft discs of light over soft blots. 400 pixels resolve all of it."""
    scale = min(1.0, 400 / max(width, height))
    w, h = max(2, round(width * scale)), max(2, round(height * scale))
    image = _map_colours(_field(rng, w, h, 4), colours * 0.5)
    radius = max(1, int(max(w, h) * rng.uniform(0.01, 0.05)))
    for _ in range(int(rng.integers(10, 60))):
        disc = np.zeros((h, w), np.float32)
        at = tuple(int(v) for v in rng.uniform((0, 0), (w, h)))
        cv2.circle(disc, at, max(1, int(radius * rng.uniform(0.6, 1.4))), 1.0, -1, cv2.LINE_AA)
        image += disc[..., None] * colours[int(rng.integers(len(colours)))] * rng.uniform(0.2, 1.0)
    soft = cv2.GaussianBlur(image, (0, 0), max(0.3, radius * 0.15))
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


#: Procedural patterns by name; one is drawn at random.
PATTERNS: dict[str, Callable[[Generator, int, int, FloatArray], FloatArray]] = {
    "gradient": _gradient,
    "clouds": _clouds,
    "stripes": _stripes,
    "cells": _cells,
    "shapes": _shapes,
    "bokeh": _bokeh,
}


def _grid(width: int, height: int) -> tuple[FloatArray, FloatArray]:
    """Return x and y of every pixel; the longer side goes from -0.5 to 0.5."""
    side = max(width, height)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return (x - (width - 1) / 2) / side, (y - (height - 1) / 2) / side


def _field(rng: Generator, width: int, height: int, knots: int) -> FloatArray:
    """Draw smooth noise (height, width) in [0, 1] with `knots` waves along the longer side."""
    side = max(width, height)
    rows, columns = (max(2, round(knots * v / side) + 1) for v in (height, width))
    coarse = rng.random((rows, columns), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth, 0, 1), np.float32)


def _normalised(values: FloatArray) -> FloatArray:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / max(high - low, 1e-6), np.float32)


def _map_colours(share: FloatArray, colours: FloatArray) -> FloatArray:
    """Map shares in [0, 1] to colours, linearly from the first colour to the last."""
    knots = np.linspace(0, 1, len(colours))
    channels = [np.interp(share, knots, colours[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
