"""Cost of rendering with labels, compared with bare renders and with a second render for the labels.

    .venv/bin/python benchmarks/rendering.py [--recipe configs/render/dice.toml] [--scenes 20] [--memory 500]

Variants, with the same scenes, samples and denoiser; labels are boxes and masks:
  al-loop   one render; image and labels from its passes, written to disk
  bare      bpy.ops.render.render alone on the same scene: the lower bound for every tool
  two       the common way: image to disk, every object in a flat colour, a second render to disk with the
            same samples, both read back, boxes and masks from the colours
  two, one  as "two", with one sample in the second render
  as shipped  as "two", with Blender's default Cycles settings for what the scenes do not state (bounces,
            light tree, caustics, adaptive sampling, importance map of the sky). Samples, denoiser and its
            quality, size and threads are the same
  shipped, one  as "as shipped", with one sample in the second render
Then: memory of one worker over many small scenes; cost and gain of content verification on panel-break, and
its errors on flaws compared with a pre-pass of 160 x 90 pixels, one sample, flat colours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import cv2
import msgspec
import numpy as np
from measuring import memory_mib

from render import load_assets, load_recipe, plan
from render.annotation.masks import encode
from render.annotation.record_store import open_dataset
from render.core.spec import DefectSpec, ObjectSpec, SceneSpec, ViewSpec
from render.recipe.tables import Image, Quality, Recipe
from render.worker import passes
from render.worker.camera import aim
from render.worker.renderer import SceneRenderer
from render.worker.verify import verify

VARIANTS = ("al-loop", "bare", "two", "two, one", "as shipped", "shipped, one")
#: Settings of Cycles that al-loop changes, besides the recipe's samples, denoiser and seed.
CHANGED_SETTINGS = (
    "use_adaptive_sampling", "use_light_tree", "caustics_reflective", "caustics_refractive",
    "max_bounces", "diffuse_bounces", "glossy_bounces", "transmission_bounces",
)  # fmt: skip
RECIPES = Path(__file__).parents[1] / "configs" / "render"


def sized(recipe: Recipe, width: int, height: int, samples: int, *, masks: bool = True) -> Recipe:
    """Return the recipe at another size and quality."""
    labels = msgspec.structs.replace(recipe.labels, masks="rle" if masks else recipe.labels.masks)
    return msgspec.structs.replace(
        recipe,
        image=Image(width, height),
        quality=Quality(samples, "fast", recipe.quality.bounces),
        labels=labels,
    )


def scenes(recipe: Recipe, root: Path, count: int) -> list[SceneSpec]:
    """Return the first `count` scenes, one view each."""
    assets = load_assets(recipe, root)
    specs = (plan(recipe, assets, 0, index) for index in range(count))
    return [msgspec.structs.replace(spec, views=spec.views[:1]) for spec in specs]


def render_all(renderer: SceneRenderer, spec: SceneSpec) -> None:
    """Render every view of a scene."""
    renderer.render_scene(spec, frozenset(view.index for view in spec.views))


def flat_material(name: str) -> tuple[bpy.types.Material, bpy.types.Node]:
    """Return a material that only emits light, and its emission node."""
    material = bpy.data.materials.new(name)
    material.use_nodes, material.use_fake_user = True, True
    tree = material.node_tree
    tree.nodes.clear()
    emission, output = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(emission.outputs[0], output.inputs["Surface"])
    return material, emission


@contextmanager
def flat_scene(scene: bpy.types.Scene, material: bpy.types.Material, samples: int) -> Iterator[None]:
    """Give all objects one material, without other light and denoising."""
    layer, cycles = scene.view_layers[0], scene.cycles
    before = cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world
    layer.material_override = material
    cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world = samples, False, 0, None
    try:
        yield
    finally:
        layer.material_override = None
        cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world = before


class TwoRenders:
    """The common way: a second render in which every object emits its index."""

    def __init__(self, scene: bpy.types.Scene, folder: Path) -> None:
        self._scene, self._folder = scene, folder
        self._material, emission = flat_material("flat")
        tree = self._material.node_tree
        info, share = tree.nodes.new("ShaderNodeObjectInfo"), tree.nodes.new("ShaderNodeMath")
        share.operation, share.inputs[1].default_value = "DIVIDE", 255.0
        tree.links.new(info.outputs["Object Index"], share.inputs[0])
        tree.links.new(share.outputs[0], emission.inputs["Color"])

    def labels(self, samples: int) -> dict[int, tuple[tuple[int, ...], str]]:
        """Return box and run lengths of every object by its index, read from a file."""
        self._set_output("PNG", "Raw")
        width = self._scene.cycles.filter_width
        with flat_scene(self._scene, self._material, samples):
            self._scene.cycles.filter_width = 0.01
            path = self._render(self._folder / "labels.png")
            self._scene.cycles.filter_width = width
        index = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 0]
        labels = {}
        for number in np.unique(index[index > 0]).tolist():
            mask = index == number
            labels[number] = cv2.boundingRect(mask.astype(np.uint8)), encode(mask)
        return labels

    @contextmanager
    def as_shipped(self) -> Iterator[None]:
        """Use Blender's default settings of Cycles and the sky."""
        cycles, sky = self._scene.cycles, self._scene.world
        fresh = bpy.data.scenes.new("shipped")
        before = {name: getattr(cycles, name) for name in CHANGED_SETTINGS}
        for name in CHANGED_SETTINGS:
            setattr(cycles, name, getattr(fresh.cycles, name))
        bpy.data.scenes.remove(fresh)
        sampling = sky.cycles.sampling_method
        sky.cycles.sampling_method = "AUTOMATIC"
        try:
            yield
        finally:
            sky.cycles.sampling_method = sampling
            for name, value in before.items():
                setattr(cycles, name, value)

    def image(self) -> None:
        """Render the image to disk and read it."""
        self._set_output("JPEG", "Standard")
        cv2.imread(str(self._render(self._folder / "image.jpg")))

    def _render(self, path: Path) -> Path:
        self._scene.render.filepath = str(path)
        self._scene.update_tag()
        bpy.ops.render.render(write_still=True)
        return path

    def _set_output(self, kind: str, view_transform: str) -> None:
        settings = self._scene.render.image_settings
        settings.file_format, settings.color_depth = kind, "8"
        self._scene.view_settings.view_transform = view_transform
        self._scene.display_settings.display_device = "sRGB"


@contextmanager
def output_settings(scene: bpy.types.Scene) -> Iterator[None]:
    """Restore the output settings that al-loop's passes need."""
    settings = scene.render.image_settings
    before = settings.file_format, settings.color_depth, scene.view_settings.view_transform
    try:
        yield
    finally:
        settings.file_format, settings.color_depth, scene.view_settings.view_transform = before


def compare(recipe: Recipe, root: Path, count: int, out: Path) -> None:
    """Time the variants alternately on the same scenes."""
    open_dataset(out, recipe, 0)
    renderer, specs = SceneRenderer(out, os.cpu_count() or 1), scenes(recipe, root, count + 1)
    scene = renderer.builder.scene
    two = TwoRenders(scene, out)
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for number, spec in enumerate(specs):
        spent = dict.fromkeys(VARIANTS, 0.0)
        with timed(spent, "al-loop"):
            render_all(renderer, spec)
        with timed(spent, "bare"):
            scene.update_tag()
            bpy.ops.render.render(write_still=False)
        with output_settings(scene):
            renderer.builder.build(spec)
            renderer.builder.assign_materials(spec)
            aim(scene, spec.views[0].camera, spec.width, spec.height)
            with timed(spent, "two", "two, one"):
                two.image()
            with timed(spent, "two, one", "shipped, one"):
                two.labels(1)
            with timed(spent, "two", "as shipped"):
                two.labels(spec.quality.samples)
            with two.as_shipped(), timed(spent, "as shipped", "shipped, one"):
                two.image()
        if number:  # the first scene compiles and loads for all
            for variant, took in spent.items():
                times[variant].append(took)
    width, height, samples = specs[0].width, specs[0].height, specs[0].quality.samples
    print(f"\n{recipe.name}, {width}x{height}, {samples} samples, {count} scenes")
    means = {variant: float(np.mean(values)) for variant, values in times.items()}
    for variant, mean in means.items():
        print(f"  {variant:12} {60 / mean:6.1f} images per minute, {mean:.3f} s each")
    ratio = means["bare"] / means["al-loop"]
    print(f"  time outside Cycles: {(1 - ratio) * 100:.1f} % (bare / al-loop = {ratio:.3f})")
    for variant in VARIANTS[2:]:
        print(f"  {variant} / al-loop = {means[variant] / means['al-loop']:.2f}")


@contextmanager
def timed(spent: dict[str, float], *variants: str) -> Iterator[None]:
    """Add the seconds of a block to each of the variants it is part of."""
    began = time.perf_counter()
    yield
    for variant in variants:
        spent[variant] += time.perf_counter() - began


def memory(recipe: Recipe, root: Path, count: int, out: Path) -> None:
    """Print the memory of one worker while it renders many small scenes."""
    open_dataset(out, recipe, 0)
    renderer, assets = SceneRenderer(out, os.cpu_count() or 1), load_assets(recipe, root)
    lines = []
    for index in range(count):
        render_all(renderer, plan(recipe, assets, 0, index))
        if (index + 1) % max(1, count // 10) == 0:
            lines.append(f"{index + 1}: {sum(memory_mib()):.0f}")
    print(f"\nmemory after scenes, MiB: {', '.join(lines)}")


class PrePass:
    """A small render of a whole view in one colour: another method to verify what it shows."""

    def __init__(self, scene: bpy.types.Scene) -> None:
        self._scene = scene
        self._material, _ = flat_material("pre-pass")

    def flaws(self, spec: SceneSpec, view: ViewSpec) -> set[int]:
        """Return the numbers of the flaws of which a pixel shows the place: on its part, in its rectangle."""
        layers = self._render(spec, view)
        index = np.rint(layers["IndexOB.X"]).astype(int)
        places = np.stack([layers[f"Position.{axis}"] for axis in "XYZ"], axis=2)
        return {
            flaw.number
            for part in spec.objects
            for flaw in part.defects
            if self._within(part, flaw, places[index == part.index]).any()
        }

    def _render(self, spec: SceneSpec, view: ViewSpec) -> dict[str, np.ndarray]:
        scene, layer = self._scene, self._scene.view_layers[0]
        aim(scene, view.camera, spec.width, spec.height)
        scene.render.resolution_percentage = round(100 * 160 / spec.width)
        layer.use_pass_position = True
        try:
            with flat_scene(scene, self._material, 1):
                return passes.render(scene)
        finally:
            layer.use_pass_position = False
            scene.render.resolution_percentage = 100

    @staticmethod
    def _within(part: ObjectSpec, flaw: DefectSpec, places: np.ndarray) -> np.ndarray:
        pose, frame = np.reshape(part.pose, (3, 4)), np.reshape(flaw.frame, (3, 4))
        local = (places - pose[:, 3]) @ np.linalg.inv(pose[:, :3]).T
        offsets = (local - frame[:, 3]) @ frame[:, :3]
        # As deep as the rectangle is wide, for curved surfaces; not on the other side of a sheet.
        return (abs(offsets) <= np.array([*flaw.size_m, max(flaw.size_m)]) / 2).all(axis=1)


def nearer(recipe: Recipe) -> Recipe:
    """Return the recipe with cameras so near that many flaws are outside the image."""
    cameras = tuple(msgspec.structs.replace(camera, view_m=0.2) for camera in recipe.cameras)
    return msgspec.structs.replace(recipe, name=f"{recipe.name}, views of 0.2 m", cameras=cameras)


def verification(recipe: Recipe, count: int, out: Path) -> None:
    """Print seconds per verification, views it skips, and its errors compared with a pre-pass."""
    open_dataset(out, recipe, 0)
    renderer, assets = SceneRenderer(out, os.cpu_count() or 1), load_assets(recipe, RECIPES)
    scene, pre_pass = renderer.builder.scene, PrePass(renderer.builder.scene)
    spent = dict.fromkeys(("rays", "pre-pass", "render"), 0.0)
    skipped = views = flaws = 0
    errors = {"rays": [0, 0], "pre-pass": [0, 0]}  # missed, wrongly reported
    for index in range(count):
        spec = plan(recipe, assets, 0, index)
        renderer.builder.build(spec)
        with timed(spent, "rays"):
            sights = verify(scene, spec, renderer.builder.meshes.surface)
        with timed(spent, "pre-pass"):
            by_pre_pass = [pre_pass.flaws(spec, view) for view in spec.views]
        renderer.builder.assign_materials(spec)
        for view, sight, reported in zip(spec.views, sights, by_pre_pass, strict=True):
            with timed(spent, "render"):
                shot = passes.render_view(scene, spec, view)
            views, skipped, flaws = views + 1, skipped + bool(sight.reason), flaws + len(shot.flaws)
            least_px = recipe.labels.min_visible_px
            visible = {n for n, mask in shot.flaws.items() if (mask > 0.5).sum() >= least_px}
            for method, numbers in (("rays", sight.flaws), ("pre-pass", reported)):
                errors[method][0] += len(visible - numbers)
                errors[method][1] += len(numbers - visible)
    means = {method: total / views for method, total in spent.items()}
    print(f"\n{recipe.name}: {views} views with {flaws} flaws; a render takes {means['render']:.2f} s")
    for method, (missed, wrong) in errors.items():
        ms = means[method] * 1000
        print(f"  {method:8} {ms:4.0f} ms per view; flaws missed {missed}, wrongly reported {wrong}")
    saved = f"verification costs {spent['rays']:.1f} s, saves {skipped * means['render']:.1f} s"
    print(f"  {skipped} views skipped: {saved}")


@contextmanager
def without_blender_output() -> Iterator[None]:
    """Discard what Blender writes to file descriptor 1; Python's output goes on."""
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPES / "dice.toml")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--memory", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, without_blender_output():
        out, recipe = Path(folder), load_recipe(args.recipe)
        compare(sized(recipe, 640, 360, 8), args.recipe.parent, args.scenes, out / "compare")
        if args.scenes:
            panels = sized(load_recipe(RECIPES / "panel-break.toml"), 640, 360, 8)
            verification(panels, args.scenes, out / "verify")
            verification(nearer(panels), args.scenes, out / "nearer")
        if args.memory:
            memory(sized(recipe, 64, 48, 1, masks=False), args.recipe.parent, args.memory, out / "memory")


if __name__ == "__main__":
    main()
