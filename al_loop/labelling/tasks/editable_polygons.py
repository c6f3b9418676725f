"""Simplify a mask to a polygon of few points, which a person can edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from al_loop.structures.boxes import FloatArray
from render.annotation.masks import bounds, fill, outer_rings

#: IoU with which more points are not worth their handles: a model's mask is less exact.
ENOUGH = 0.98
#: Fewest points that are tried, unless still fewer are allowed.
_FEWEST = 4
#: An edge of more points is simplified by so many px first: this turns the stairs of a slope into a line.
_MANY, _STAIR_PX = 400, 1.0
#: The search for the smallest tolerance begins here, doubles it as long as there are too many points, and
#: then halves the interval so many times.
_SMALLEST_PX, _STEPS = 0.25, 7
#: Places on the mask's edge to which the corners are fitted; how often they are fitted; the weight of a
#: corner's old place, beside 1 for a place on the edge.
_PLACES, _FITS, _INERTIA = 640, 3, 0.01


def editable_polygon(mask: NDArray[np.bool_], most: int) -> tuple[FloatArray, float]:
    """Return a polygon (n, 2) px around the largest part of a mask, and their IoU.

    It has a quarter of `most` points if that gives an IoU of ENOUGH, otherwise half, otherwise `most`: points
    that are close together on the screen hide the edge. It does not cross itself. The IoU, in [0, 1], is that
    of the filled polygon with the whole mask (h, w), which has one or more pixels: its holes and other parts
    lower it.
    """
    x, y, width, height = bounds(mask)
    window = mask[y : y + height, x : x + width]
    edge = _largest_part(window)
    places = _places_along(shapely.get_coordinates(edge.exterior))
    if len(shapely.get_coordinates(edge)) > _MANY:  # stairs, which slow down the search
        edge = edge.simplify(_STAIR_PX)
    best = (np.zeros((0, 2)), -1.0)
    for count in sorted({min(most, max(_FEWEST, most // share)) for share in (4, 2, 1)}):
        candidates = [best, *((points, _iou(points, window)) for points in _polygons(edge, places, count))]
        best = max(candidates, key=lambda item: item[1])
        if best[1] >= ENOUGH:
            break
    return best[0] + np.array([x, y]), best[1]


def _polygons(edge: shapely.Polygon, places: FloatArray, most: int) -> Iterator[FloatArray]:
    """Yield two simplifications (n, 2) of an edge to `most` points, each also fitted to places on the edge.

    Source: Douglas & Peucker 1973; Visvalingam & Whyatt 1993.
    """
    ways: tuple[Callable[[float], shapely.Polygon], ...] = (
        edge.simplify,  # by distance, px
        lambda tolerance: shapely.coverage_simplify([edge], tolerance)[0],  # by the root of an area, px
    )
    limits = np.reshape(edge.bounds, (2, 2))
    for way in ways:
        corners = _simplest(way, most)
        yield corners
        fitted = np.clip(_fitted(corners, places), *limits)
        if shapely.Polygon(fitted).is_valid:
            yield fitted


def _largest_part(mask: NDArray[np.bool_]) -> shapely.Polygon:
    """Return the largest part of a mask without its holes, with the corners of its edge alone."""
    # A ring that touches itself at a corner becomes several polygons.
    pieces = shapely.get_parts([shapely.make_valid(shapely.Polygon(ring)) for ring in outer_rings(mask)])
    parts = [shapely.Polygon(piece.exterior) for piece in pieces if isinstance(piece, shapely.Polygon)]
    largest = max(parts, key=lambda part: float(part.area))
    return largest.simplify(0)


def _simplest(simplified: Callable[[float], shapely.Polygon], most: int) -> FloatArray:
    """Return the points of the simplification with the smallest tolerance that has at most `most` of them."""
    low, high = 0.0, _SMALLEST_PX
    while len(points := _points(simplified(high))) > most:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        fewer = _points(simplified(middle))
        low, high, points = (low, middle, fewer) if len(fewer) <= most else (middle, high, points)
    return points


def _points(polygon: shapely.Polygon) -> FloatArray:
    return np.asarray(shapely.get_coordinates(polygon.exterior)[:-1])


def _places_along(ring: FloatArray) -> FloatArray:
    """Return places (m, 2) at equal distances along a closed ring (n, 2)."""
    reached = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))])
    wanted = np.linspace(0, reached[-1], _PLACES, endpoint=False)
    return np.stack([np.interp(wanted, reached, column) for column in ring.T], axis=1)


def _fitted(corners: FloatArray, places: FloatArray) -> FloatArray:
    """Move corners (n, 2) so that the squared distances of places (m, 2) to the polygon are smallest.

    Each place belongs to the point of a side that is nearest to it, at a fixed share of the side: this is
    linear. It is repeated, because other points are then the nearest.
    """
    rows, points = np.arange(len(places)), shapely.points(places)
    for _ in range(_FITS):
        lengths = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
        ends = np.cumsum(lengths)
        nearest = shapely.line_locate_point(shapely.LinearRing(corners), points)
        side = np.minimum(np.searchsorted(ends, nearest, side="right"), len(corners) - 1)
        share = np.clip(1 - (ends[side] - nearest) / np.maximum(lengths[side], 1e-12), 0, 1)
        system = np.zeros((len(places), len(corners)))
        system[rows, side] = 1 - share
        system[rows, (side + 1) % len(corners)] += share
        wanted = system.T @ places + _INERTIA * corners
        corners = np.linalg.solve(system.T @ system + _INERTIA * np.eye(len(corners)), wanted)
    return corners


def _iou(points: FloatArray, mask: NDArray[np.bool_]) -> float:
    filled = fill((tuple(points.ravel().tolist()),), *mask.shape)
    return float((filled & mask).sum() / (filled | mask).sum())
