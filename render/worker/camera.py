"""Sets Blender's camera from a CameraSpec; `render.geometry.projection` computes the same projection."""

from __future__ import annotations

import bpy
import mathutils
import numpy as np

from render.core.spec import CameraSpec
from render.geometry.projection import NEAR_M

#: Far clipping distance of a camera, in metres.
FAR_M = 1e5
_NAME = "camera"


def aim(scene: bpy.types.Scene, camera: CameraSpec, width: int, height: int) -> bool:
    """Set the camera and the image size of a scene, without lens distortion, which Blender does not render.

    Returns True if the scene is new, that is if it had no camera.
    """
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    # Blender expresses different fx and fy by pixels that are not square, whose sides are at least 1.
    render.pixel_aspect_x = max(1.0, camera.lens.aspect)
    render.pixel_aspect_y = max(1.0, 1 / camera.lens.aspect)
    created = scene.camera is None
    if created:
        scene.camera = bpy.data.objects.new(_NAME, bpy.data.cameras.new(_NAME))
        scene.collection.objects.link(scene.camera)
    data = scene.camera.data
    lens_mm = camera.focal_px / width * camera.sensor_mm
    # Blender accepts no sensor and no focal length below 1 mm. Scaling both by one factor changes nothing in
    # the image.
    factor = max(1.0, 1.0 / lens_mm, 1.0 / camera.sensor_mm)
    data.sensor_fit = "HORIZONTAL"
    data.lens, data.sensor_width = lens_mm * factor, camera.sensor_mm * factor
    data.shift_x = -camera.lens.shift_px[0] / width
    data.shift_y = camera.lens.shift_px[1] / (width * camera.lens.aspect)
    data.clip_start, data.clip_end = NEAR_M, FAR_M
    data.dof.use_dof = blurs(camera)
    if camera.f_number is not None and camera.focus_m is not None:
        data.dof.focus_distance = camera.focus_m
        data.dof.aperture_fstop = camera.f_number * factor
    rows = np.reshape(camera.pose, (3, 4)).tolist()
    scene.camera.matrix_world = mathutils.Matrix([*rows, [0.0, 0.0, 0.0, 1.0]])
    return created


def blurs(camera: CameraSpec) -> bool:
    """Return whether the camera has focus blur."""
    return camera.f_number is not None and camera.focus_m is not None
