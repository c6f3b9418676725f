"""A surface as arrays, and the declaration of a built-in shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Surface:
    """A polygon mesh whose faces are counter-clockwise seen from outside.

    vertices: (n, 3).
    corners: (l,) vertex of every face corner, face after face.
    sizes: (m,) corners per face.
    accent: (n,) 1 where the accent colour is visible, 0 elsewhere.
    uv: (l, 2) texture coordinates per corner, or None.
    smooth: whether shading is interpolated over edges.
    """

    vertices: FloatArray
    corners: IntArray
    sizes: IntArray
    accent: FloatArray | None = None
    uv: FloatArray | None = None
    smooth: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError if the arrays do not fit together."""
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"expected vertices (n, 3), got {self.vertices.shape}")
        if int(self.sizes.sum()) != len(self.corners):
            raise ValueError(f"expected {int(self.sizes.sum())} corners, got {len(self.corners)}")
        if self.accent is not None and self.accent.shape != (len(self.vertices),):
            raise ValueError(f"expected accent ({len(self.vertices)},), got {self.accent.shape}")
        if self.uv is not None and self.uv.shape != (len(self.corners), 2):
            raise ValueError(f"expected uv ({len(self.corners)}, 2), got {self.uv.shape}")

    @cached_property
    def fans(self) -> IntArray:
        """(t, 3) indices into `corners`: every face as a fan of triangles around its first corner."""
        starts = np.cumsum(self.sizes) - self.sizes
        counts = self.sizes - 2
        first = np.repeat(starts, counts)
        step = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([first, first + step + 1, first + step + 2], axis=1)

    @property
    def triangles(self) -> IntArray:
        """(t, 3) vertex indices."""
        return np.asarray(self.corners[self.fans])

    @cached_property
    def normals(self) -> FloatArray:
        """(t, 3) outward normals of the triangles, with twice the area as length."""
        a, b, c = (self.vertices[self.triangles[:, i]] for i in range(3))
        return np.asarray(np.cross(b - a, c - a))

    @property
    def volume(self) -> float:
        """Enclosed volume of a closed surface, by the divergence theorem; negative when inside out."""
        centres = self.vertices[self.triangles].mean(axis=1)
        return float((centres * self.normals).sum() / 6)


@dataclass(frozen=True)
class Parameter:
    """A number that determines a shape: default, least and greatest sensible value, and meaning."""

    default: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class Rest:
    """A resting pose.

    rotation: nine numbers, row by row.
    state: name of the side that is up.
    weight: relative probability.
    """

    rotation: tuple[float, float, float, float, float, float, float, float, float]
    state: str = ""
    weight: float = 1.0


UPRIGHT = Rest((1, 0, 0, 0, 1, 0, 0, 0, 1))


@dataclass(frozen=True)
class Shape:
    """A built-in part. The origin is the centre of its bounding box.

    build: form -> component -> Surface, in units of `size`, so that size_m scales the part.
    size: what size_m measures.
    parameters: name -> range and meaning.
    rests: resting poses; empty: computed from the convex hull.
    components: in a fixed order; ("",) if it is one piece.
    states: names of the poses, if they are labelled.
    stamped: form -> face that carries digits; None if no face does.
    """

    build: Callable[[Mapping[str, float]], dict[str, Surface]]
    size: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    rests: tuple[Rest, ...] = ()
    components: tuple[str, ...] = ("",)
    states: tuple[str, ...] = ()
    stamped: Callable[[Mapping[str, float]], Panel] | None = None


@dataclass(frozen=True)
class Panel:
    """A flat face that can carry digits, in shape units.

    axes: nine numbers; the rows are the directions along, up and outward.
    """

    axes: tuple[float, float, float, float, float, float, float, float, float]
    centre: tuple[float, float, float]
    length: float
    height: float


def polygons(vertices: FloatArray, faces: IntArray, **others: Any) -> Surface:
    """Return a Surface of faces with equal numbers of corners, (m, 3) or (m, 4)."""
    sizes = np.full(len(faces), faces.shape[1])
    return Surface(np.asarray(vertices, np.float64), faces.ravel(), sizes, **others)
