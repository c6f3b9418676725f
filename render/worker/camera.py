"""The spec's pinhole as a Blender camera; `render.projection` holds the same arithmetic."""

from __future__ import annotations

import bpy
import mathutils

from render.projection import SENSOR_MM, pose
from render.spec import CameraSpec


def aim(scene: bpy.types.Scene, camera: CameraSpec) -> None:
    """Add the camera and make it the scene's."""
    data = bpy.data.cameras.new("camera")
    data.lens, data.sensor_width, data.sensor_fit = camera.focal_mm, SENSOR_MM, "HORIZONTAL"
    data.clip_start, data.clip_end = camera.distance_m * 0.01, camera.distance_m * 1000
    axes, position = pose(camera)
    thing = bpy.data.objects.new("camera", data)
    thing.matrix_world = mathutils.Matrix.Translation(position) @ mathutils.Matrix(axes.tolist()).to_4x4()
    scene.collection.objects.link(thing)
    scene.camera = thing
