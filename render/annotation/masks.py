"""Masks in COCO's formats, and the colours of mask images."""

from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Mask = NDArray[np.bool_]
Ring = NDArray[np.int64]
Polygon = tuple[float, ...]
#: Greatest distance, in pixels, between a simplified polygon and the pixel edges of the mask. It just turns
#: the staircase of a 45° slope into a line.
_SLACK_PX = 0.75


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Return x, y, w, h of the bounding box of a mask (h, w); zeros if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    x, y = int(columns[0]), int(rows[0])
    return (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)


def encode(mask: Mask) -> str:
    """Encode a mask (h, w) as COCO's compressed run lengths, column by column."""
    return str(coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode("ascii"))


def decode(counts: str, height: int, width: int) -> Mask:
    """Decode COCO's compressed run lengths to a mask (h, w)."""
    return np.asarray(coco.decode({"size": [height, width], "counts": counts.encode("ascii")}), np.bool_)


def polygons(mask: Mask) -> tuple[Polygon, ...]:
    """Return the outlines x, y, x, y, ... of a mask, along the edges of its pixels; one per connected piece.

    COCO's polygons have no holes, so a hole is joined to the outline by a slit without width.
    """
    rings, tree = _trace(mask)
    outlines = []
    for number, ring in enumerate(rings):
        if tree[number][3] >= 0:
            continue
        outline = _simplify(ring)
        hole = tree[number][2]
        while hole >= 0:
            outline = _join_hole(outline, _simplify(rings[hole]))
            hole = tree[hole][0]
        outlines.append(tuple(float(v) for v in outline.ravel()))
    return tuple(outlines)


def outer_rings(mask: Mask) -> list[Ring]:
    """Return the outer edge (n, 2) of each connected piece of a mask, along the edges of its pixels, in px.

    Pixels that touch at a corner are connected: the ring then touches itself there.
    """
    rings, tree = _trace(mask)
    return [ring for ring, links in zip(rings, tree, strict=True) if links[3] < 0]


def _trace(mask: Mask) -> tuple[list[Ring], Ring]:
    """Return the edges (n, 2) of pieces and holes of a mask, and OpenCV's links between them, (rings, 4)."""
    x, y, w, h = bounds(mask)
    if not w:
        return [], np.zeros((0, 4), np.int64)
    # At twice the size, the outermost pixels of a piece with an edge at x lie at 2 x or 2 x - 1.
    double = cv2.resize(
        mask[y : y + h, x : x + w].astype(np.uint8), (2 * w, 2 * h), interpolation=cv2.INTER_NEAREST
    )
    rings, tree = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corner = np.array([x, y])
    return [np.asarray((ring.reshape(-1, 2) + 1) // 2 + corner, np.int64) for ring in rings], tree[0]


def _simplify(ring: Ring) -> Ring:
    """Return a ring (n, 2) without the corners that hardly change it."""
    simplified = cv2.approxPolyDP(ring.astype(np.int32), _SLACK_PX, closed=True)
    if len(simplified) < 3:
        (x0, y0), (x1, y1) = ring.min(axis=0), ring.max(axis=0)
        simplified = np.array([(x0, y0), (x0, y1), (x1, y1), (x1, y0)])
    return np.asarray(simplified.reshape(-1, 2), np.int64)


def _join_hole(outline: Ring, hole: Ring) -> Ring:
    """Join an outline and a hole into one ring, at the two corners nearest to each other."""
    distances = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
    i, j = np.unravel_index(int(distances.argmin()), distances.shape)
    around = np.roll(hole, -int(j), axis=0)
    return np.concatenate([outline[: i + 1], around, around[:1], outline[i:]])


def fill(outlines: tuple[Polygon, ...], height: int, width: int) -> Mask:
    """Return the mask (h, w) of polygons, as pycocotools fills them."""
    parts = coco.frPyObjects([list(outline) for outline in outlines], height, width)
    return np.asarray(coco.decode(coco.merge(parts)), np.bool_)


def of_segmentation(segmentation: Any, height: int, width: int) -> Mask:
    """Return the mask (h, w) of a COCO segmentation: polygons or run lengths, compressed or not.

    Pixels after the last run are 0.

    Raises ValueError for invalid run lengths, and for runs of more pixels than the image has, for which
    pycocotools would access memory out of bounds.
    """
    if isinstance(segmentation, list):
        return fill(tuple(map(tuple, segmentation)), height, width)
    counts = segmentation["counts"]
    runs = counts if isinstance(counts, list) else _decode_runs(counts.encode("ascii"))
    if (
        list(segmentation["size"]) != [height, width]
        or min(runs, default=0) < 0
        or sum(runs) > height * width
    ):
        raise ValueError(f"expected run lengths of {height} x {width} pixels")
    mask = np.zeros(height * width, np.bool_)
    set_here = np.arange(len(runs)) % 2 == 1
    mask[: sum(runs)] = np.repeat(set_here, runs)
    return mask.reshape(width, height).T


def _decode_runs(counts: bytes) -> list[int]:
    """Decode COCO's compressed run lengths; ValueError if they are invalid.

    The code of a character, less that of "0", holds five bits; its sixth bit says that more follow. From the
    fourth run on, the number is the difference to the run before the last. Source: pycocotools, maskApi.c,
    rleToString.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"expected compressed run lengths, got the letter {chr(letter)!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs


def colours(count: int) -> NDArray[np.uint8]:
    """Return clearly different RGB colours (count, 3), none black: golden-ratio hues in two brightnesses."""
    rows = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.85, 1.0 - 0.35 * (i % 2)) for i in range(count)]
    return np.asarray(np.round(np.reshape(rows, (count, 3)) * 255), np.uint8)
