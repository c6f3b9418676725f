"""Simulates drops of a body on a table with Blender's rigid bodies, and returns how it comes to rest."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Independent drops, simulated at once. A probability of one half is then known to 3 %.
_DROPS = 240
#: Simulated seconds until the bodies must be at rest. The body is scaled to 1 m, and time scales with the
#: root of the length: for a part of 4 cm this is 1.4 s.
_SETTLE_S = 7.0
_FRAMES_PER_S, _STEPS_PER_FRAME = 24, 10
#: Least height of fall, and distance between the bodies, in lengths of the body.
_FALL, _SPACING = 0.2, 4.0
#: Collision groups. A body collides with bodies of its own group only; its neighbours are of other groups.
_COLLISION_GROUPS = 20
#: Friction and restitution of a moulded or machined part on a table.
_FRICTION, _BOUNCE = 0.5, 0.2


def drop_on_table(corners: FloatArray, centre: FloatArray) -> FloatArray:
    """Simulate drops; return, in the body's frame, the direction (n, 3) that points upwards after each drop.

    corners: (k, 3) corners of the convex hull, any unit.
    centre: (3,) centre of mass.

    Initial orientations are uniformly random and the same at every call. A body that does not come to rest,
    such as a ball, counts with its last orientation.
    """
    longest = float(np.ptp(corners, axis=0).max())
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = _FRAMES_PER_S
    placed = (corners - centre) / longest
    bodies = _set_up(scene, _hull(placed), float(np.linalg.norm(placed, axis=1).max()) + _FALL)
    for frame in range(1, round(_SETTLE_S * _FRAMES_PER_S) + 1):
        scene.frame_set(frame)  # the simulation must step through every frame
    graph = bpy.context.evaluated_depsgraph_get()
    return np.array([np.array(body.evaluated_get(graph).matrix_world)[2, :3] for body in bodies])


def _set_up(scene: bpy.types.Scene, hull: bpy.types.Mesh, height: float) -> list[bpy.types.Object]:
    """Add a table and the bodies above it. Rigid bodies have their origin at the centre of mass."""
    bpy.ops.rigidbody.world_add()
    world = scene.rigidbody_world
    world.collection = bpy.data.collections.new("bodies")
    world.substeps_per_frame = _STEPS_PER_FRAME
    world.point_cache.frame_end = round(_SETTLE_S * _FRAMES_PER_S) + 1
    row = int(np.ceil(np.sqrt(_DROPS)))
    table = bpy.data.meshes.new("table")
    far = row * _SPACING
    table.from_pydata(
        [(-far, -far, 0), (2 * far, -far, 0), (2 * far, 2 * far, 0), (-far, 2 * far, 0)], [], [(0, 1, 2, 3)]
    )
    ground = _body(scene, world, "table", table).rigid_body
    ground.type, ground.collision_collections = "PASSIVE", [True] * _COLLISION_GROUPS
    orientations = np.random.default_rng(0).standard_normal((_DROPS, 4))
    bodies = []
    for number, orientation in enumerate(orientations / np.linalg.norm(orientations, axis=1, keepdims=True)):
        body = _body(scene, world, f"body {number}", hull)
        body.rotation_mode, body.rotation_quaternion = "QUATERNION", orientation
        body.location = (number % row * _SPACING, number // row * _SPACING, height)
        body.rigid_body.collision_shape = "CONVEX_HULL"
        body.rigid_body.collision_collections = [
            group == number % _COLLISION_GROUPS for group in range(_COLLISION_GROUPS)
        ]
        bodies.append(body)
    return bodies


def _body(scene: bpy.types.Scene, world: Any, name: str, mesh: bpy.types.Mesh) -> bpy.types.Object:
    body = bpy.data.objects.new(name, mesh)
    scene.collection.objects.link(body)
    world.collection.objects.link(body)
    rigid = body.rigid_body
    rigid.collision_shape = "MESH"
    rigid.friction, rigid.restitution = _FRICTION, _BOUNCE
    # Without a collision margin, a body collides exactly at its surface.
    rigid.use_margin, rigid.collision_margin = True, 0.0
    return body


def _hull(corners: FloatArray) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new("hull")
    mesh.from_pydata(corners.tolist(), [], [])
    return mesh
