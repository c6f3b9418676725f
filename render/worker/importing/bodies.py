"""Objects of a mesh file as arrays in double precision, moved to the origin if they are far from it.

Blender stores vertices in float32, whose resolution is 4 mm at 40 km from the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from render.assets.meshcache import joined
from render.shapes.kernels.surface import IntArray, Surface
from render.worker.importing.checks import FloatArray, RefusedError, float32_step, require_finite
from render.worker.importing.references import Reference

#: A mesh farther from the origin than this many times its longest side is moved to the origin. For a nearer
#: mesh, the error of float32 is at most 5e-7 of that side.
FAR = 8.0
#: A coordinate resolution coarser than this share of the longest side causes a warning ...
COARSE = 1e-4
#: ... and coarser than this share an error: the shape is lost.
LOST = 0.05
_MOVE = "move the part to the origin in the CAD program and export it again"


class Body(NamedTuple):
    """An object of a mesh file.

    surface: in the object's frame.
    matrix: (4, 4), transforms from the object's frame to the file's.
    """

    name: str
    surface: Surface
    matrix: FloatArray

    @property
    def corners(self) -> FloatArray:
        """(n, 3) vertices in the file's frame."""
        return np.asarray(self.surface.vertices @ self.matrix[:3, :3].T + self.matrix[:3, 3])


@dataclass(frozen=True, eq=False)
class MeshFile:
    """Content of a mesh file.

    step: returns the resolution of the coordinates, that is the smallest difference they can express.
    text: whether the coordinates are decimal text.
    remarks: sentences about ignored content.
    references: files that the mesh file refers to.
    stated: unit in metres and up axis, if the file states them.
    """

    bodies: Sequence[Body]
    step: Callable[[], float]
    text: bool = False
    remarks: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    stated: tuple[float, str] | None = None


def compact_surface(
    points: FloatArray, corners: IntArray, sizes: IntArray, uv: FloatArray | None = None
) -> Surface:
    """Return a surface without unused points and without faces of fewer than three corners.

    If a face uses a point twice, the point is duplicated, since Blender does not allow such faces.
    """
    in_face = np.repeat(sizes > 2, sizes)
    sizes = sizes[sizes > 2]
    used, corners = np.unique(corners[in_face], return_inverse=True)
    faces = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((corners, faces))
    repeated = order[1:][(np.diff(faces[order]) == 0) & (np.diff(corners[order]) == 0)]
    points = points[np.concatenate([used, used[corners[repeated]]])]
    corners[repeated] = len(used) + np.arange(len(repeated))
    return Surface(points, corners, sizes, uv=None if uv is None else uv[in_face])


def surfaces_near_origin(file: MeshFile) -> tuple[dict[str, Surface], tuple[str, ...]]:
    """Return the surfaces by object name, in the file's axes and moved near the origin, and remarks.

    Raises RefusedError if the resolution of the coordinates is too coarse for the shape.
    """
    bodies = [body for body in file.bodies if len(body.surface.sizes)]
    if not bodies:
        return {}, file.remarks
    places = [body.corners for body in bodies]
    corners = np.concatenate(places)
    require_finite(corners, lambda i: f"at corner {i + 1}, from the matrices of its objects")
    far = bool(np.abs(corners).max() > FAR * np.ptp(corners, axis=0).max())
    remarks = (*file.remarks, *_precision_remarks(file, corners)) if far else file.remarks
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2 if far else np.zeros(3)
    surfaces: dict[str, list[Surface]] = {}
    for body, place in zip(bodies, places, strict=True):
        surfaces.setdefault(body.name, []).append(replace(body.surface, vertices=place - middle))
    return {name: joined(instances) for name, instances in surfaces.items()}, remarks


def _precision_remarks(file: MeshFile, corners: FloatArray) -> tuple[str, ...]:
    """Return remarks on the resolution of coordinates, and of positions, which Blender stores in float32.

    The position of a single object does not affect its shape. With several objects, rounded positions change
    their distances.
    """
    remarks = check_precision(corners, file.step(), text=file.text)
    if len(file.bodies) == 1:
        return remarks
    step = float32_step(np.array([body.matrix[:3, 3] for body in file.bodies]))
    return remarks + check_precision(corners, step, what=f"{len(file.bodies)} objects whose places come")


def check_precision(
    points: FloatArray, step: float, *, text: bool = False, what: str = "numbers"
) -> tuple[str, ...]:
    """Return a warning if the resolution is coarse for the size of a part.

    text: whether the numbers are decimal text. A part may be modelled in whole numbers, so none is refused.
    what: subject of the warning.

    Raises RefusedError if the shape is lost.
    """
    size = float(np.ptp(points, axis=0).max())
    if not size or step <= COARSE * size:
        return ()
    far = float(np.abs(points).max())
    message = f"{what} in steps of {step:.3g} on a part that is {size:.3g} long, {far:.3g} from the origin"
    if step > LOST * size and not text:
        raise RefusedError("a shape", f"{message}: detail is lost; {_MOVE}")
    return (f"{message}: detail {'may be' if text else 'is'} lost; {_MOVE}",)
