"""Stable poses of a dropped body and their probabilities."""

from __future__ import annotations

import numpy as np

from render.shapes.kernels.surface import UPRIGHT, FloatArray, IntArray, Rest

#: Poses whose up directions are closer than this are one: the facets of a round side.
SAME_UP_DEG = 5.0
#: A pose rarer than this is left out ...
RARE = 0.01
#: ... as long as all that is left out is no more than this: every pose of a ball is rare.
LEFT_OUT = 0.05
#: Farther than this from every stable pose, a dropped body does not lie.
LEANING_DEG = 15.0
#: Thinner than this share of its length, a body is a sheet and lies on its two sides.
_SHEET = 1e-5
#: The stable poses of a hull take time that grows with the square of its corners: a second for this many.
_CORNERS = 800


def resting(
    vertices: FloatArray, centre: FloatArray | None = None, landed: FloatArray | None = None
) -> tuple[Rest, ...]:
    """Stable poses of a body on flat ground, the most probable first; their weights sum to 1.

    vertices: (n, 3), any unit.
    centre: (3,) centre of mass; None: that of the convex hull, as if solid.
    landed: (d, 3) directions that pointed up after simulated drops (`render.worker.importing.dropping`). The
        weight of a pose is then the share of drops that ended nearest to it. None: the probability of a
        quasi-static drop from a random orientation, that is the solid angle, seen from the centre of mass, of
        the hull's faces from which the body topples to the pose.

    A rotation is the shortest one that turns the pose's up direction to z: a body that rests as modelled
    stays so. Source: Goldberg et al. 1999, "Part Pose Statistics"; computed by trimesh.
    """
    longest = float(np.ptp(vertices, axis=0).max())
    if not longest > 0:
        return (UPRIGHT,)
    # trimesh takes corners closer than 1e-8 as one, whatever the unit: measure in lengths of the body.
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    corners = np.unique((vertices - middle) / longest, axis=0)
    _, spread, axes = np.linalg.svd(corners - corners.mean(axis=0), full_matrices=False)
    if len(corners) < 4 or spread[2] < _SHEET * spread[0]:
        ups, chances = _sheet(corners, spread, axes)
    else:
        ups, chances = _stable(corners, None if centre is None else (centre - middle) / longest)
        if landed is not None:
            chances = _counted(ups, chances, landed)
    ups, chances = _common(*_merged(ups, chances))
    weights = (chances / chances.sum()).tolist()
    return tuple(Rest(_shortest_turn(up), weight=weight) for up, weight in zip(ups, weights, strict=True))


def _sheet(corners: FloatArray, spread: FloatArray, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Up directions and probabilities of a body without thickness: either side up; for a line, z."""
    if len(corners) < 3 or spread[1] < _SHEET * spread[0]:
        return np.array([[0.0, 0.0, 1.0]]), np.ones(1)
    return np.stack([axes[2], -axes[2]]), np.full(2, 0.5)


def _stable(corners: FloatArray, centre: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Up directions (n, 3) and chances (n,) of a solid body of length 1."""
    # Not at the top: trimesh, and scipy behind it, take half a second that most uses need not wait for.
    from trimesh.convex import convex_hull
    from trimesh.poses import compute_stable_poses

    hull = convex_hull(corners)
    if len(hull.vertices) > _CORNERS:
        hull = convex_hull(outermost(np.asarray(hull.vertices), _CORNERS))
    heavy = np.asarray(hull.center_mass if centre is None else centre)
    # The search for poses never ends for a centre outside: that of a file whose faces look inward, say.
    if not _inside(hull.triangles_center, hull.face_normals, heavy):
        heavy = np.asarray(hull.center_mass)
    # The solid angle of a sliver may come out as nan; such a face counts for nothing.
    with np.errstate(invalid="ignore", divide="ignore"):
        turns, chances = compute_stable_poses(hull, center_mass=heavy)
    return np.asarray(turns)[:, 2, :3], np.asarray(chances, np.float64)


def _counted(ups: FloatArray, chances: FloatArray, landed: FloatArray) -> FloatArray:
    """Count the drops that ended at each pose; ignore those far from all poses (leaning, or on an edge)."""
    nearness = landed @ ups.T
    # Of poses as near as each other, facets of a flat side cut in triangles, the likeliest.
    nearest = (nearness + 1e-6 * chances / chances.max()).argmax(axis=1)
    lies = nearness[np.arange(len(landed)), nearest] > np.cos(np.radians(LEANING_DEG))
    counts = np.bincount(nearest[lies], minlength=len(ups)).astype(np.float64)
    return counts if counts.any() else chances


def centre_of_mass(vertices: FloatArray, triangles: IntArray) -> FloatArray | None:
    """Centre of mass (3,) of a solid of uniform density; None for a surface that is open or inside out."""
    from trimesh import Trimesh

    solid = Trimesh(vertices, triangles, process=False)
    return np.asarray(solid.center_mass) if solid.is_volume else None


def _inside(points: FloatArray, normals: FloatArray, centre: FloatArray) -> bool:
    depths = np.einsum("ij,ij->i", centre - np.asarray(points), np.asarray(normals))
    return bool((depths < -1e-6).all())


def outermost(corners: FloatArray, count: int) -> FloatArray:
    """At most `count` corners: the farthest ones along evenly distributed directions (Fibonacci spiral)."""
    steps = np.arange(count) + 0.5
    z = 1 - 2 * steps / count
    turn = np.pi * (1 + 5**0.5) * steps
    around = np.sqrt(1 - z**2)
    directions = np.stack([around * np.cos(turn), around * np.sin(turn), z], axis=1)
    # One direction at a time: a million corners by a thousand directions would be 10 GB.
    reach = np.ascontiguousarray(corners.T)
    farthest = [int((direction @ reach).argmax()) for direction in directions]
    return np.asarray(corners[np.unique(farthest)])


def _merged(ups: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each up direction takes in the rarer ones around it; a pose that is kept is truly stable."""
    ups, chances = _ranked(ups, chances)
    near = np.cos(np.radians(SAME_UP_DEG))
    left, stable, sums = np.arange(len(ups)), [], []
    while len(left):
        same = ups[left] @ ups[left[0]] > near
        stable.append(left[0])
        sums.append(chances[left[same]].sum())
        left = left[~same]
    return _ranked(ups[stable], np.array(sums))


def _ranked(ups: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The likeliest first; equal ones by direction, not by the last bit of their chances."""
    order = np.lexsort([*(-ups.T[::-1]).round(6), -chances.round(6)])
    return ups[order], chances[order]


def _common(ups: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Without the poses that are rare and not needed for all but LEFT_OUT of the drops; likeliest first."""
    likelier = np.cumsum(chances) - chances
    stable = (chances >= RARE) | (likelier < (1 - LEFT_OUT) * chances.sum())
    return ups[stable], chances[stable]


def _shortest_turn(up: FloatArray) -> tuple[float, float, float, float, float, float, float, float, float]:
    """The rotation of least angle that turns a unit vector to z; about x when it points straight down."""
    x, y, z = up / np.linalg.norm(up)
    if z < -1 + 1e-9:
        return (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
    cross = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])  # of up x z
    turn = np.eye(3) + cross + cross @ cross / (1 + z)
    return tuple(float(v) for v in (turn + 0.0).ravel())  # type: ignore[return-value]  # nine numbers
