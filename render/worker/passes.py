"""Renders one view and reads its passes back as arrays: linear light, object indices, flaw masks."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import cv2
import numpy as np
from numpy.typing import NDArray

from render.annotation.annotate import RenderedView
from render.core.errors import RenderError
from render.core.spec import QualitySpec, SceneSpec, ViewSpec
from render.geometry.projection import UndistortedView, undistorted_view
from render.worker.camera import aim, blurs

Pixels = NDArray[np.float32]


def configure(scene: bpy.types.Scene, threads: int) -> None:
    """Set what all scenes have in common: engine, denoiser, passes and output format."""
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.render.threads_mode = "FIXED"
    scene.render.threads = threads
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_light_tree = False  # helps with many lamps; with few it is 0.2 s slower and 1 dB worse
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.render.use_compositing = scene.render.use_sequencer = False
    scene.render.use_border = False
    layer = scene.view_layers[0]
    layer.use_pass_combined, layer.use_pass_z, layer.use_pass_object_index = True, False, True
    # A point that is more than half transparent (a hole) takes the object index of what lies behind it.
    layer.pass_alpha_threshold = 0.5
    files = scene.render.image_settings
    files.file_format, files.color_mode = "OPEN_EXR_MULTILAYER", "RGBA"
    files.color_depth, files.exr_codec = "32", "NONE"


def render_view(scene: bpy.types.Scene, spec: SceneSpec, view: ViewSpec) -> RenderedView:
    """Set the camera of a scene that is otherwise complete, render one view and return its passes.

    Lens distortion: a larger undistorted image is rendered, then distorted. Masks take the nearest pixel.
    Focus blur: the object index would be wrong by up to 8 px. A second render, in focus and without lights,
        gives the masks.
    """
    undistorted = undistorted_view(view.camera, spec.width, spec.height)
    if undistorted is None:
        new_scene = aim(scene, view.camera, spec.width, spec.height)
    else:
        new_scene = aim(scene, undistorted.camera, undistorted.width, undistorted.height)
    _set_persistent_data(scene, new_scene=new_scene, more_views=len(spec.views) > 1 or blurs(view.camera))
    scene.render.film_transparent = spec.background.kind != "sky"
    _configure_sampling(scene, spec.quality, view.cycles_seed)
    flaw_numbers = [flaw.number for obj in spec.objects for flaw in obj.defects]
    _add_flaw_aovs(scene.view_layers[0], flaw_numbers)
    channels = render(scene)
    if blurs(view.camera):
        # The object index comes from the first sample alone, which goes through the centre of the pixel.
        # A flaw mask is the mean of all samples.
        with _mask_pass_settings(scene, spec.quality.samples if flaw_numbers else 1):
            sharp = render(scene)
        channels = {**sharp, **{name: channels[name] for name in _LIGHT_CHANNELS}}
    rendered = _to_rendered_view(channels, flaw_numbers)
    return rendered if undistorted is None else _apply_distortion(rendered, undistorted)


def _set_persistent_data(scene: bpy.types.Scene, *, new_scene: bool, more_views: bool) -> None:
    """Make Cycles keep geometry and shaders between the views of one scene, but not between scenes.

    If Cycles kept them between scenes, a new sky would leave the lights in the order of earlier scenes. The
    order changes the noise, so an image would depend on what the worker rendered before. Switching
    persistent data off also frees the memory.
    """
    if new_scene:
        scene.render.use_persistent_data = False
    scene.render.use_persistent_data = more_views


_LIGHT_CHANNELS = ("Combined.R", "Combined.G", "Combined.B", "Combined.A")


def _configure_sampling(scene: bpy.types.Scene, quality: QualitySpec, seed: int) -> None:
    cycles = scene.cycles
    cycles.samples, cycles.seed = quality.samples, seed
    cycles.use_denoising = quality.denoise != "off"
    if cycles.use_denoising:
        # At 320 x 320, "fast" takes half the time of "high" and loses 1 dB.
        cycles.denoising_quality = quality.denoise.upper()
        cycles.denoising_prefilter = "ACCURATE" if quality.denoise == "high" else "FAST"
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = quality.bounces
    cycles.transmission_bounces = quality.bounces + 2


def flaw_pass(number: int) -> str:
    """Return the name of the AOV that holds the mask of a flaw."""
    return f"flaw {number}"


def _add_flaw_aovs(layer: bpy.types.ViewLayer, flaw_numbers: list[int]) -> None:
    for aov in list(layer.aovs):
        layer.aovs.remove(aov)
    for number in flaw_numbers:
        aov = layer.aovs.add()
        aov.name, aov.type = flaw_pass(number), "VALUE"


@contextlib.contextmanager
def _mask_pass_settings(scene: bpy.types.Scene, samples: int) -> Iterator[None]:
    """Set up the render that gives the masks: no focus blur, no lights; restore the settings at the end.

    samples: as for the image if there are flaws, so that their masks are those of an image in focus.
    """
    cycles, lens = scene.cycles, scene.camera.data.dof
    lamps = [obj for obj in scene.objects if obj.type == "LIGHT" and not obj.hide_render]
    saved = scene.world, cycles.use_denoising, cycles.max_bounces, cycles.samples
    scene.world, cycles.use_denoising, cycles.max_bounces, cycles.samples = None, False, 0, samples
    lens.use_dof = False
    for lamp in lamps:
        lamp.hide_render = True
    try:
        yield
    finally:
        scene.world, cycles.use_denoising, cycles.max_bounces, cycles.samples = saved
        lens.use_dof = True
        for lamp in lamps:
            lamp.hide_render = False


def render(scene: bpy.types.Scene) -> dict[str, Pixels]:
    """Render, and return every channel (h, w) by pass and component, such as "Combined.R" or "IndexOB.X"."""
    # Without this, Blender may ignore changed settings.
    scene.update_tag()
    bpy.ops.render.render(write_still=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "passes.exr"
        bpy.data.images["Render Result"].save_render(str(path), scene=scene)
        return _read_channels(path)


def _read_channels(path: Path) -> dict[str, Pixels]:
    oiio = _open_image_io()
    reader = oiio.ImageInput.open(str(path))
    if reader is None:
        raise RenderError(
            f"{path}: the render cannot be read back ({oiio.geterror()}); check that the disk is not full"
        )
    spec = reader.spec()
    pixels = np.asarray(reader.read_image("float"), np.float32).reshape(spec.height, spec.width, -1)
    reader.close()
    # A channel name starts with the name of the view layer.
    names = [str(name).partition(".")[2] for name in spec.channelnames]
    return {name: pixels[..., number] for number, name in enumerate(names)}


def _to_rendered_view(channels: dict[str, Pixels], flaw_numbers: list[int]) -> RenderedView:
    return RenderedView(
        light=np.stack([channels[name] for name in _LIGHT_CHANNELS[:3]], axis=2),
        alpha=np.ascontiguousarray(channels["Combined.A"]),
        index=np.rint(channels["IndexOB.X"]).astype(np.int32),
        # Behind a transparent hole, the values of several surfaces add up.
        flaws={number: np.minimum(channels[f"{flaw_pass(number)}.X"], 1.0) for number in flaw_numbers},
    )


def _apply_distortion(rendered: RenderedView, undistorted: UndistortedView) -> RenderedView:
    """Return the image with lens distortion: light is interpolated, masks take the nearest pixel."""
    column, row = np.rint(undistorted.map_x).astype(np.intp), np.rint(undistorted.map_y).astype(np.intp)
    return RenderedView(
        light=np.asarray(_remap(rendered.light, undistorted), np.float32),
        alpha=np.asarray(_remap(rendered.alpha, undistorted), np.float32),
        index=rendered.index[row, column],
        flaws={number: flaw[row, column] for number, flaw in rendered.flaws.items()},
    )


def _remap(image: Pixels, undistorted: UndistortedView) -> Any:
    return cv2.remap(
        image, undistorted.map_x, undistorted.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _open_image_io() -> Any:
    """Import OpenImageIO from the bpy wheel; append its folder to sys.path, so that it shadows no package."""
    folder = next(Path(bpy.utils.resource_path("LOCAL")).glob("python/lib/python*/site-packages"))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    import OpenImageIO

    return OpenImageIO
