"""Drops a body on a table many times over, with Blender's rigid bodies, and looks how it comes to lie."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Bodies dropped at once, each by itself: a chance of one half is then known to 3 %.
_DROPS = 240
#: Seconds they have to come to rest. A length of the body is a metre here, and time goes by its root: these
#: are 1.4 s of a part of 4 cm.
_SETTLE_S = 7.0
_FRAMES_PER_S, _STEPS_PER_FRAME = 24, 10
#: How far the lowest corner falls at least, and how far apart they stand, in lengths of the body.
_FALL, _APART = 0.2, 4.0
#: Bodies that may meet others of their kind alone: next to each stand different ones, through which it rolls.
_KINDS = 20
#: Of a moulded or machined part on a table.
_FRICTION, _BOUNCE = 0.5, 0.2


def drop_on_table(corners: FloatArray, centre: FloatArray) -> FloatArray:
    """Simulate drops; return directions (n, 3), in the body's frame, that point upwards after each.

    corners: (k, 3) of its convex hull, any unit.
    centre: (3,) centre of mass.

    Initial orientations are uniformly random and the same at every call. A body that never rests, such as a
    ball, is taken as it is at the end.
    """
    longest = float(np.ptp(corners, axis=0).max())
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = _FRAMES_PER_S
    placed = (corners - centre) / longest
    bodies = _set_up(scene, _hull(placed), float(np.linalg.norm(placed, axis=1).max()) + _FALL)
    for frame in range(1, round(_SETTLE_S * _FRAMES_PER_S) + 1):
        scene.frame_set(frame)  # the simulation goes on by one frame only if none is left out
    graph = bpy.context.evaluated_depsgraph_get()
    return np.array([np.array(body.evaluated_get(graph).matrix_world)[2, :3] for body in bodies])


def _set_up(scene: bpy.types.Scene, hull: bpy.types.Mesh, height: float) -> list[bpy.types.Object]:
    """A table, and the bodies above it; their origin is the centre of mass, as rigid bodies have it."""
    bpy.ops.rigidbody.world_add()
    world = scene.rigidbody_world
    world.collection = bpy.data.collections.new("bodies")
    world.substeps_per_frame = _STEPS_PER_FRAME
    world.point_cache.frame_end = round(_SETTLE_S * _FRAMES_PER_S) + 1
    row = int(np.ceil(np.sqrt(_DROPS)))
    table = bpy.data.meshes.new("table")
    far = row * _APART
    table.from_pydata(
        [(-far, -far, 0), (2 * far, -far, 0), (2 * far, 2 * far, 0), (-far, 2 * far, 0)], [], [(0, 1, 2, 3)]
    )
    ground = _body(scene, world, "table", table).rigid_body
    ground.type, ground.collision_collections = "PASSIVE", [True] * _KINDS
    turns = np.random.default_rng(0).standard_normal((_DROPS, 4))
    bodies = []
    for number, turn in enumerate(turns / np.linalg.norm(turns, axis=1, keepdims=True)):
        body = _body(scene, world, f"body {number}", hull)
        body.rotation_mode, body.rotation_quaternion = "QUATERNION", turn
        body.location = (number % row * _APART, number // row * _APART, height)
        body.rigid_body.collision_shape = "CONVEX_HULL"
        body.rigid_body.collision_collections = [kind == number % _KINDS for kind in range(_KINDS)]
        bodies.append(body)
    return bodies


def _body(scene: bpy.types.Scene, world: Any, name: str, mesh: bpy.types.Mesh) -> bpy.types.Object:
    body = bpy.data.objects.new(name, mesh)
    scene.collection.objects.link(body)
    world.collection.objects.link(body)
    rigid = body.rigid_body
    rigid.collision_shape = "MESH"
    rigid.friction, rigid.restitution = _FRICTION, _BOUNCE
    # Without a margin of its own a body is as large as it looks.
    rigid.use_margin, rigid.collision_margin = True, 0.0
    return body


def _hull(corners: FloatArray) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new("hull")
    mesh.from_pydata(corners.tolist(), [], [])
    return mesh
