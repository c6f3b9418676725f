"""One render, read back as arrays: linear light, object indices, flaws."""

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

from render.annotation.annotate import Shot
from render.core.errors import RenderError
from render.core.spec import QualitySpec, SceneSpec, ViewSpec
from render.geometry.projection import Plate, plate
from render.worker.camera import aim, blurs

Pixels = NDArray[np.float32]


def configure(scene: bpy.types.Scene, threads: int) -> None:
    """Settings every scene shares."""
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.render.threads_mode = "FIXED"
    scene.render.threads = threads
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_light_tree = False  # pays with many lamps; here 0.2 s slower and 1 dB worse
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.render.use_compositing = scene.render.use_sequencer = False
    scene.render.use_border = False
    layer = scene.view_layers[0]
    layer.use_pass_combined, layer.use_pass_z, layer.use_pass_object_index = True, False, True
    # What is more than half transparent, a hole, leaves the object index to what is seen through it.
    layer.pass_alpha_threshold = 0.5
    files = scene.render.image_settings
    files.file_format, files.color_mode = "OPEN_EXR_MULTILAYER", "RGBA"
    files.color_depth, files.exr_codec = "32", "NONE"


def shoot(scene: bpy.types.Scene, spec: SceneSpec, view: ViewSpec) -> Shot:
    """Render one view of a scene that is set up except for its camera.

    For a lens with distortion, a larger undistorted image is rendered and then distorted; masks take the
    nearest pixel. With focus blur the object index is wrong by up to 8 px, so a second, sharp and unlit
    render gives the masks.
    """
    straight = plate(view.camera, spec.width, spec.height)
    if straight is None:
        new_scene = aim(scene, view.camera, spec.width, spec.height)
    else:
        new_scene = aim(scene, straight.camera, straight.width, straight.height)
    _keep_for_other_views(scene, new_scene=new_scene, others=len(spec.views) > 1 or blurs(view.camera))
    scene.render.film_transparent = spec.background.kind != "sky"
    _sample(scene, spec.quality, view.cycles_seed)
    numbers = [flaw.number for thing in spec.objects for flaw in thing.defects]
    _list_flaws(scene.view_layers[0], numbers)
    channels = render(scene)
    if blurs(view.camera):
        # The first sample goes through the pixel's middle and alone gives the index; flaws are a mean of all.
        with _sharp_and_unlit(scene, spec.quality.samples if numbers else 1):
            sharp = render(scene)
        channels = {**sharp, **{name: channels[name] for name in _LIGHT}}
    shot = _shot(channels, numbers)
    return shot if straight is None else _bent(shot, straight)


def _keep_for_other_views(scene: bpy.types.Scene, *, new_scene: bool, others: bool) -> None:
    """Have Cycles keep geometry and shaders between the views of one scene, never between scenes.

    Between scenes, a changed sky would leave the lights in the order of past scenes, which changes the noise:
    the image would depend on the worker's history. Turning it off frees the memory.
    """
    if new_scene:
        scene.render.use_persistent_data = False
    scene.render.use_persistent_data = others


_LIGHT = ("Combined.R", "Combined.G", "Combined.B", "Combined.A")


def _sample(scene: bpy.types.Scene, quality: QualitySpec, seed: int) -> None:
    cycles = scene.cycles
    cycles.samples, cycles.seed = quality.samples, seed
    cycles.use_denoising = quality.denoise != "off"
    if cycles.use_denoising:
        # "fast" takes half the time of "high" and loses 1 dB at 320 x 320.
        cycles.denoising_quality = quality.denoise.upper()
        cycles.denoising_prefilter = "ACCURATE" if quality.denoise == "high" else "FAST"
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = quality.bounces
    cycles.transmission_bounces = quality.bounces + 2


def flaw_pass(number: int) -> str:
    """Name of the AOV a flaw is written to."""
    return f"flaw {number}"


def _list_flaws(layer: bpy.types.ViewLayer, numbers: list[int]) -> None:
    for aov in list(layer.aovs):
        layer.aovs.remove(aov)
    for number in numbers:
        aov = layer.aovs.add()
        aov.name, aov.type = flaw_pass(number), "VALUE"


@contextlib.contextmanager
def _sharp_and_unlit(scene: bpy.types.Scene, samples: int) -> Iterator[None]:
    """Through a pinhole, in the dark; with the samples of a sharp picture the masks are that picture's."""
    cycles, lens = scene.cycles, scene.camera.data.dof
    lit = [thing for thing in scene.objects if thing.type == "LIGHT" and not thing.hide_render]
    saved = scene.world, cycles.use_denoising, cycles.max_bounces, cycles.samples
    scene.world, cycles.use_denoising, cycles.max_bounces, cycles.samples = None, False, 0, samples
    lens.use_dof = False
    for lamp in lit:
        lamp.hide_render = True
    try:
        yield
    finally:
        scene.world, cycles.use_denoising, cycles.max_bounces, cycles.samples = saved
        lens.use_dof = True
        for lamp in lit:
            lamp.hide_render = False


def render(scene: bpy.types.Scene) -> dict[str, Pixels]:
    """Every channel (h, w) of a render, by pass and component: "Combined.R", "IndexOB.X"."""
    # Without this, Blender may ignore changed settings.
    scene.update_tag()
    bpy.ops.render.render(write_still=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "passes.exr"
        bpy.data.images["Render Result"].save_render(str(path), scene=scene)
        return _read(path)


def _read(path: Path) -> dict[str, Pixels]:
    oiio = _open_image_io()
    reader = oiio.ImageInput.open(str(path))
    if reader is None:
        raise RenderError(f"{path}: the render cannot be read back ({oiio.geterror()}); is its disk full?")
    spec = reader.spec()
    pixels = np.asarray(reader.read_image("float"), np.float32).reshape(spec.height, spec.width, -1)
    reader.close()
    # The first word is the view layer's.
    names = [str(name).partition(".")[2] for name in spec.channelnames]
    return {name: pixels[..., number] for number, name in enumerate(names)}


def _shot(channels: dict[str, Pixels], numbers: list[int]) -> Shot:
    return Shot(
        light=np.stack([channels[name] for name in _LIGHT[:3]], axis=2),
        alpha=np.ascontiguousarray(channels["Combined.A"]),
        index=np.rint(channels["IndexOB.X"]).astype(np.int32),
        # They add up through transparent holes.
        flaws={number: np.minimum(channels[f"{flaw_pass(number)}.X"], 1.0) for number in numbers},
    )


def _bent(shot: Shot, straight: Plate) -> Shot:
    """The picture a lens makes of the straight one."""
    column, row = np.rint(straight.across).astype(np.intp), np.rint(straight.down).astype(np.intp)
    return Shot(
        light=np.asarray(_remap(shot.light, straight), np.float32),
        alpha=np.asarray(_remap(shot.alpha, straight), np.float32),
        index=shot.index[row, column],
        flaws={number: flaw[row, column] for number, flaw in shot.flaws.items()},
    )


def _remap(picture: Pixels, straight: Plate) -> Any:
    return cv2.remap(
        picture, straight.across, straight.down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _open_image_io() -> Any:
    """The OpenImageIO inside the bpy wheel; its folder goes last, so that it shadows nothing."""
    folder = next(Path(bpy.utils.resource_path("LOCAL")).glob("python/lib/python*/site-packages"))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    import OpenImageIO

    return OpenImageIO
