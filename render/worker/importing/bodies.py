"""Objects of a mesh file as arrays in double precision, moved to the origin if they are far from it.

Blender stores a vertex in float32: 40 km from the origin its steps are 4 mm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from render.assets.meshcache import joined
from render.shapes.kernels.surface import IntArray, Surface
from render.worker.importing.checks import FloatArray, RefusedError, finite, float32_step
from render.worker.importing.references import Reference

#: Farther from the origin than this many times its longest side, a mesh is moved there. Nearer, float32 keeps
#: every corner within 5e-7 of that side.
FAR = 8.0
#: Numbers of a file in steps larger than this share of the longest side cause a warning ...
COARSE = 1e-4
#: ... and above this one an error: no shape is left.
LOST = 0.05
_MOVE = "move the part to the origin in the CAD program and export it again"


class Body(NamedTuple):
    """An object of a mesh file.

    surface: in the object's frame.
    matrix: (4, 4) from there to the file's.
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

    step: returns the smallest difference that its numbers can express.
    text: whether they are decimal text.
    remarks: sentences about ignored content.
    references: files that it refers to.
    stated: unit in metres and upward axis, if the file gives them.
    """

    bodies: Sequence[Body]
    step: Callable[[], float]
    text: bool = False
    remarks: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    stated: tuple[float, str] | None = None


def used_surface(
    points: FloatArray, corners: IntArray, sizes: IntArray, uv: FloatArray | None = None
) -> Surface:
    """A surface without points that no face uses, and without faces of fewer than three corners.

    A point that a face has twice is doubled: Blender has no such faces.
    """
    in_face = np.repeat(sizes > 2, sizes)
    sizes = sizes[sizes > 2]
    used, corners = np.unique(corners[in_face], return_inverse=True)
    faces = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((corners, faces))
    again = order[1:][(np.diff(faces[order]) == 0) & (np.diff(corners[order]) == 0)]
    points = points[np.concatenate([used, used[corners[again]]])]
    corners[again] = len(used) + np.arange(len(again))
    return Surface(points, corners, sizes, uv=None if uv is None else uv[in_face])


def placed(file: MeshFile) -> tuple[dict[str, Surface], tuple[str, ...]]:
    """Surfaces by the names of objects, in the file's frame, near the origin; and remarks.

    Raises RefusedError where the numbers have lost the shape.
    """
    bodies = [body for body in file.bodies if len(body.surface.sizes)]
    if not bodies:
        return {}, file.remarks
    places = [body.corners for body in bodies]
    corners = np.concatenate(places)
    finite(corners, lambda i: f"at corner {i + 1}, from the matrices of its objects")
    far = bool(np.abs(corners).max() > FAR * np.ptp(corners, axis=0).max())
    remarks = (*file.remarks, *_coarse(file, corners)) if far else file.remarks
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2 if far else np.zeros(3)
    surfaces: dict[str, list[Surface]] = {}
    for body, place in zip(bodies, places, strict=True):
        surfaces.setdefault(body.name, []).append(replace(body.surface, vertices=place - middle))
    return {name: joined(instances) for name, instances in surfaces.items()}, remarks


def _coarse(file: MeshFile, corners: FloatArray) -> tuple[str, ...]:
    """Remarks on the precision of coordinates, and of positions, which Blender stores in float32.

    The position of a single body says nothing about its shape. Of several bodies, equal positions may have
    been different.
    """
    remarks = coarse_numbers(corners, file.step(), text=file.text)
    if len(file.bodies) == 1:
        return remarks
    step = float32_step(np.array([body.matrix[:3, 3] for body in file.bodies]))
    return remarks + coarse_numbers(corners, step, what=f"{len(file.bodies)} objects whose places come")


def coarse_numbers(
    points: FloatArray, step: float, *, text: bool = False, what: str = "numbers"
) -> tuple[str, ...]:
    """Warn of numbers that are coarse for the size of a part; raises RefusedError if no shape is left.

    text: the numbers are decimal text. A part may be modelled in whole numbers: nothing is refused.
    what: subject of the warning.
    """
    size = float(np.ptp(points, axis=0).max())
    if not size or step <= COARSE * size:
        return ()
    far = float(np.abs(points).max())
    message = f"{what} in steps of {step:.3g} on a part that is {size:.3g} long, {far:.3g} from the origin"
    if step > LOST * size and not text:
        raise RefusedError("a shape", f"{message}: detail is lost; {_MOVE}")
    return (f"{message}: detail {'may be' if text else 'is'} lost; {_MOVE}",)
