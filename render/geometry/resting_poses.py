"""Stable poses of a dropped body and their probabilities."""

from __future__ import annotations

import numpy as np

from render.shapes.kernels.surface import UPRIGHT, FloatArray, IntArray, Rest

#: Poses whose up directions differ by less than this are merged, such as the facets of a round side.
SAME_UP_DEG = 5.0
#: Poses with a lower probability than this are left out ...
RARE = 0.01
#: ... as long as their probabilities add up to no more than this, since every pose of a ball is rare.
LEFT_OUT = 0.05
#: A dropped body farther than this from every stable pose is not at rest.
LEANING_DEG = 15.0
#: A body thinner than this share of its length is a sheet, which rests on either side.
_SHEET = 1e-5
#: Corners of the hull. The time for its stable poses grows with their square: one second for this many.
_CORNERS = 800


def resting(
    vertices: FloatArray, centre: FloatArray | None = None, landed: FloatArray | None = None
) -> tuple[Rest, ...]:
    """Return the stable poses of a body on flat ground, the most probable first; their weights sum to 1.

    vertices: (n, 3), any unit.
    centre: (3,) centre of mass; None: that of the solid convex hull.
    landed: (d, 3) directions that pointed up after simulated drops (`render.worker.importing.dropping`). The
        weight of a pose is then the share of drops that ended nearest to it. None: the weight is the
        probability of a quasi-static drop from a random orientation, that is the solid angle, seen from the
        centre of mass, of the hull's faces from which the body topples to the pose.

    The rotation of a pose is the shortest one that takes its up direction to z, so a body that rests as
    modelled is not rotated. Source: Goldberg et al. 1999, "Part Pose Statistics"; computed by trimesh.
    """
    longest = float(np.ptp(vertices, axis=0).max())
    if not longest > 0:
        return (UPRIGHT,)
    # trimesh merges corners closer than 1e-8 in any unit, so scale the body to length 1.
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    corners = np.unique((vertices - middle) / longest, axis=0)
    _, spread, axes = np.linalg.svd(corners - corners.mean(axis=0), full_matrices=False)
    if len(corners) < 4 or spread[2] < _SHEET * spread[0]:
        ups, chances = _sheet_poses(corners, spread, axes)
    else:
        ups, chances = _stable_poses(corners, None if centre is None else (centre - middle) / longest)
        if landed is not None:
            chances = _drops_per_pose(ups, chances, landed)
    ups, chances = _drop_rare_poses(*_merge_close_poses(ups, chances))
    weights = (chances / chances.sum()).tolist()
    return tuple(
        Rest(_shortest_rotation_to_up(up), weight=weight) for up, weight in zip(ups, weights, strict=True)
    )


def _sheet_poses(corners: FloatArray, spread: FloatArray, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return up directions and probabilities of a body without thickness: either side up; for a line, z."""
    if len(corners) < 3 or spread[1] < _SHEET * spread[0]:
        return np.array([[0.0, 0.0, 1.0]]), np.ones(1)
    return np.stack([axes[2], -axes[2]]), np.full(2, 0.5)


def _stable_poses(corners: FloatArray, centre: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return up directions (n, 3) and probabilities (n,) of a solid body of length 1."""
    # Imported here: trimesh and scipy take half a second to import, and most callers do not need them.
    from trimesh.convex import convex_hull
    from trimesh.poses import compute_stable_poses

    hull = convex_hull(corners)
    if len(hull.vertices) > _CORNERS:
        hull = convex_hull(outermost(np.asarray(hull.vertices), _CORNERS))
    mass_centre = np.asarray(hull.center_mass if centre is None else centre)
    # The search for poses never ends if the centre is outside the hull, as for a file with inverted faces.
    if not _inside(hull.triangles_center, hull.face_normals, mass_centre):
        mass_centre = np.asarray(hull.center_mass)
    # The solid angle of a sliver may be nan; such a face is ignored.
    with np.errstate(invalid="ignore", divide="ignore"):
        turns, chances = compute_stable_poses(hull, center_mass=mass_centre)
    return np.asarray(turns)[:, 2, :3], np.asarray(chances, np.float64)


def _drops_per_pose(ups: FloatArray, chances: FloatArray, landed: FloatArray) -> FloatArray:
    """Count the drops that ended at each pose; ignore those far from all poses (leaning, or on an edge)."""
    nearness = landed @ ups.T
    # Of equally near poses, such as the triangles of one flat side, take the most probable.
    nearest = (nearness + 1e-6 * chances / chances.max()).argmax(axis=1)
    settled = nearness[np.arange(len(landed)), nearest] > np.cos(np.radians(LEANING_DEG))
    counts = np.bincount(nearest[settled], minlength=len(ups)).astype(np.float64)
    return counts if counts.any() else chances


def centre_of_mass(vertices: FloatArray, triangles: IntArray) -> FloatArray | None:
    """Return the centre of mass (3,) at uniform density; None for a surface that is open or inside out."""
    from trimesh import Trimesh

    solid = Trimesh(vertices, triangles, process=False)
    return np.asarray(solid.center_mass) if solid.is_volume else None


def _inside(points: FloatArray, normals: FloatArray, centre: FloatArray) -> bool:
    depths = np.einsum("ij,ij->i", centre - np.asarray(points), np.asarray(normals))
    return bool((depths < -1e-6).all())


def outermost(corners: FloatArray, count: int) -> FloatArray:
    """Return at most `count` corners: the farthest along evenly distributed directions (Fibonacci spiral)."""
    steps = np.arange(count) + 0.5
    z = 1 - 2 * steps / count
    turn = np.pi * (1 + 5**0.5) * steps
    around = np.sqrt(1 - z**2)
    directions = np.stack([around * np.cos(turn), around * np.sin(turn), z], axis=1)
    # One direction at a time: a million corners by a thousand directions would be 10 GB.
    reach = np.ascontiguousarray(corners.T)
    farthest = [int((direction @ reach).argmax()) for direction in directions]
    return np.asarray(corners[np.unique(farthest)])


def _merge_close_poses(ups: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Merge each pose with the less probable ones close to it. A merged pose keeps a stable up direction."""
    ups, chances = _sort_poses(ups, chances)
    near = np.cos(np.radians(SAME_UP_DEG))
    left, stable, sums = np.arange(len(ups)), [], []
    while len(left):
        same = ups[left] @ ups[left[0]] > near
        stable.append(left[0])
        sums.append(chances[left[same]].sum())
        left = left[~same]
    return _sort_poses(ups[stable], np.array(sums))


def _sort_poses(ups: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sort poses by probability, the most probable first; ties by direction, not by rounding errors."""
    order = np.lexsort([*(-ups.T[::-1]).round(6), -chances.round(6)])
    return ups[order], chances[order]


def _drop_rare_poses(ups: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the poses without the rare ones, which together make up at most LEFT_OUT of the drops."""
    likelier = np.cumsum(chances) - chances
    stable = (chances >= RARE) | (likelier < (1 - LEFT_OUT) * chances.sum())
    return ups[stable], chances[stable]


def _shortest_rotation_to_up(
    up: FloatArray,
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Return the shortest rotation that takes a direction to z; about x if it points straight down."""
    x, y, z = up / np.linalg.norm(up)
    if z < -1 + 1e-9:
        return (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
    cross = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])  # of up x z
    turn = np.eye(3) + cross + cross @ cross / (1 + z)
    return tuple(float(v) for v in (turn + 0.0).ravel())  # type: ignore[return-value]  # nine numbers
