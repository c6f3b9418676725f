"""Cost of rendering with labels, compared with bare renders and with a second render for the labels.

    .venv/bin/python benchmarks/render.py [--recipe configs/render/dice.toml] [--scenes 20] [--memory 500]

Variants, with the same scenes, samples and denoiser, boxes and masks:
  ours      one render; image and labels from its passes, committed to disk
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

# A script's folder comes first on the path, and this one bears the package's name.
sys.path.remove(str(Path(__file__).parent))

from render import load_assets, load_recipe, plan
from render.annotation.masks import encode
from render.annotation.record_store import open_dataset
from render.core.spec import DefectSpec, ObjectSpec, SceneSpec, ViewSpec
from render.recipe.tables import Image, Quality, Recipe
from render.worker import passes
from render.worker.camera import aim
from render.worker.renderer import SceneRenderer
from render.worker.verify import verify

_WAYS = ("ours", "bare", "two", "two, one", "as shipped", "shipped, one")
#: Settings of Cycles that are ours, not what Blender ships and not the recipe's samples, denoiser and seed.
_OURS = (
    "use_adaptive_sampling", "use_light_tree", "caustics_reflective", "caustics_refractive",
    "max_bounces", "diffuse_bounces", "glossy_bounces", "transmission_bounces",
)  # fmt: skip
RECIPES = Path(__file__).parents[1] / "configs" / "render"


def sized(recipe: Recipe, width: int, height: int, samples: int, *, masks: bool = True) -> Recipe:
    """The recipe at another size and quality."""
    labels = msgspec.structs.replace(recipe.labels, masks="rle" if masks else recipe.labels.masks)
    return msgspec.structs.replace(
        recipe,
        image=Image(width, height),
        quality=Quality(samples, "fast", recipe.quality.bounces),
        labels=labels,
    )


def scenes(recipe: Recipe, root: Path, count: int) -> list[SceneSpec]:
    """The first `count` scenes, one view each."""
    assets = load_assets(recipe, root)
    made = (plan(recipe, assets, 0, index) for index in range(count))
    return [msgspec.structs.replace(spec, views=spec.views[:1]) for spec in made]


def make(studio: SceneRenderer, spec: SceneSpec) -> None:
    """Make every view of a scene."""
    studio.make(spec, frozenset(view.index for view in spec.views))


class Flat:
    """The second render of the common way: every object emits its index, nothing else shines."""

    def __init__(self, scene: bpy.types.Scene, folder: Path) -> None:
        """Make the material once."""
        self._scene, self._folder = scene, folder
        self._material = bpy.data.materials.new("flat")
        self._material.use_nodes, self._material.use_fake_user = True, True
        tree = self._material.node_tree
        tree.nodes.clear()
        info, glow = tree.nodes.new("ShaderNodeObjectInfo"), tree.nodes.new("ShaderNodeEmission")
        share, out = tree.nodes.new("ShaderNodeMath"), tree.nodes.new("ShaderNodeOutputMaterial")
        share.operation, share.inputs[1].default_value = "DIVIDE", 255.0
        tree.links.new(info.outputs["Object Index"], share.inputs[0])
        tree.links.new(share.outputs[0], glow.inputs["Color"])
        tree.links.new(glow.outputs[0], out.inputs["Surface"])

    def labels(self, samples: int) -> dict[int, tuple[tuple[int, ...], str]]:
        """Index -> box and run lengths of every object, by way of a file."""
        with self._flat(samples):
            path = self._render(self._folder / "labels.png")
        index = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 0]
        found = {}
        for number in np.unique(index[index > 0]).tolist():
            mask = index == number
            found[number] = cv2.boundingRect(mask.astype(np.uint8)), encode(mask)
        return found

    @contextmanager
    def as_shipped(self) -> Iterator[None]:
        """Cycles and the sky as Blender ships them, but for what the scene asks for."""
        cycles, sky = self._scene.cycles, self._scene.world
        fresh = bpy.data.scenes.new("shipped")
        kept = {name: getattr(cycles, name) for name in _OURS}
        for name in _OURS:
            setattr(cycles, name, getattr(fresh.cycles, name))
        bpy.data.scenes.remove(fresh)
        mapped = sky.cycles.sampling_method
        sky.cycles.sampling_method = "AUTOMATIC"
        try:
            yield
        finally:
            sky.cycles.sampling_method = mapped
            for name, value in kept.items():
                setattr(cycles, name, value)

    def picture(self) -> None:
        """The picture, to disk and back."""
        self._as_file("JPEG", "8", "sRGB")
        cv2.imread(str(self._render(self._folder / "picture.jpg")))

    def _render(self, path: Path) -> Path:
        self._scene.render.filepath = str(path)
        self._scene.update_tag()
        bpy.ops.render.render(write_still=True)
        return path

    def _as_file(self, kind: str, depth: str, view: str) -> None:
        image = self._scene.render.image_settings
        image.file_format, image.color_depth = kind, depth
        self._scene.view_settings.view_transform = "Raw" if view == "Raw" else "Standard"
        self._scene.display_settings.display_device = "sRGB"

    @contextmanager
    def _flat(self, samples: int) -> Iterator[None]:
        scene, layer, cycles = self._scene, self._scene.view_layers[0], self._scene.cycles
        kept = cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world
        layer.material_override = self._material
        cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world = samples, False, 0, None
        cycles.filter_width = 0.01
        self._as_file("PNG", "8", "Raw")
        try:
            yield
        finally:
            layer.material_override = None
            cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world = kept
            cycles.filter_width = 1.5


@contextmanager
def exr(scene: bpy.types.Scene) -> Iterator[None]:
    """Put the output settings back to what our own passes need."""
    image = scene.render.image_settings
    kept = image.file_format, image.color_depth, scene.view_settings.view_transform
    try:
        yield
    finally:
        image.file_format, image.color_depth = kept[0], kept[1]
        scene.view_settings.view_transform = kept[2]


def compare(recipe: Recipe, root: Path, count: int, out: Path) -> None:
    """Time the ways on the same scenes, in turn."""
    open_dataset(out, recipe, 0)
    studio, specs = SceneRenderer(out, os.cpu_count() or 1), scenes(recipe, root, count + 1)
    scene = studio.stage.scene
    flat = Flat(scene, out)
    times: dict[str, list[float]] = {way: [] for way in _WAYS}
    for number, spec in enumerate(specs):
        spent = dict.fromkeys(_WAYS, 0.0)
        with timed(spent, "ours"):
            make(studio, spec)
        with timed(spent, "bare"):
            scene.update_tag()
            bpy.ops.render.render(write_still=False)
        with exr(scene):
            studio.stage.set(spec)
            studio.stage.assign_materials(spec)
            aim(scene, spec.views[0].camera, spec.width, spec.height)
            with timed(spent, "two", "two, one"):
                flat.picture()
            with timed(spent, "two, one", "shipped, one"):
                flat.labels(1)
            with timed(spent, "two", "as shipped"):
                flat.labels(spec.quality.samples)
            with flat.as_shipped(), timed(spent, "as shipped", "shipped, one"):
                flat.picture()
        if number:  # the first scene compiles and loads what the others find
            for way, seconds in spent.items():
                times[way].append(seconds)
    width, height, samples = specs[0].width, specs[0].height, specs[0].quality.samples
    print(f"\n{recipe.name}, {width}x{height}, {samples} samples, {count} scenes")
    means = {way: float(np.mean(seconds)) for way, seconds in times.items()}
    for way, mean in means.items():
        print(f"  {way:12} {60 / mean:6.1f} images per minute, {mean:.3f} s each")
    print(
        f"  time outside Cycles: {(1 - means['bare'] / means['ours']) * 100:.1f} % of ours "
        f"(bare / ours = {means['bare'] / means['ours']:.3f})"
    )
    for way in _WAYS[2:]:
        print(f"  {way} / ours = {means[way] / means['ours']:.2f}")


@contextmanager
def timed(spent: dict[str, float], *ways: str) -> Iterator[None]:
    """Add the seconds of a block to each of the ways it is part of."""
    began = time.perf_counter()
    yield
    for way in ways:
        spent[way] += time.perf_counter() - began


def resident_mb() -> float:
    """Memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(recipe: Recipe, root: Path, count: int, out: Path) -> None:
    """Memory of one worker while it makes many small scenes."""
    open_dataset(out, recipe, 0)
    studio, assets = SceneRenderer(out, os.cpu_count() or 1), load_assets(recipe, root)
    seen = []
    for index in range(count):
        make(studio, plan(recipe, assets, 0, index))
        if (index + 1) % max(1, count // 10) == 0:
            seen.append(f"{index + 1}: {resident_mb():.0f}")
    print(f"\nmemory after scenes, MiB: {', '.join(seen)}")


class PrePass:
    """A small render of a whole view in one colour, to see what it shows: the other way to verify."""

    def __init__(self, scene: bpy.types.Scene) -> None:
        """Make the material once."""
        self._scene = scene
        self._material = bpy.data.materials.new("pre-pass")
        self._material.use_nodes, self._material.use_fake_user = True, True
        tree = self._material.node_tree
        tree.nodes.clear()
        glow, out = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
        tree.links.new(glow.outputs[0], out.inputs["Surface"])

    def flaws(self, spec: SceneSpec, view: ViewSpec) -> set[int]:
        """Numbers of the flaws of which some pixel shows the place: on its part, within its rectangle."""
        found = self._render(spec, view)
        index = np.rint(found["IndexOB.X"]).astype(int)
        places = np.stack([found[f"Position.{axis}"] for axis in "XYZ"], axis=2)
        return {
            flaw.number
            for thing in spec.objects
            for flaw in thing.defects
            if self._within(thing, flaw, places[index == thing.index]).any()
        }

    def _render(self, spec: SceneSpec, view: ViewSpec) -> dict[str, np.ndarray]:
        scene, layer, cycles = self._scene, self._scene.view_layers[0], self._scene.cycles
        aim(scene, view.camera, spec.width, spec.height)
        kept = cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world
        scene.render.resolution_percentage = round(100 * 160 / spec.width)
        layer.material_override, layer.use_pass_position = self._material, True
        cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world = 1, False, 0, None
        try:
            return passes.render(scene)
        finally:
            cycles.samples, cycles.use_denoising, cycles.max_bounces, scene.world = kept
            layer.material_override, layer.use_pass_position = None, False
            scene.render.resolution_percentage = 100

    @staticmethod
    def _within(thing: ObjectSpec, flaw: DefectSpec, places: np.ndarray) -> np.ndarray:
        placed, own = np.reshape(thing.pose, (3, 4)), np.reshape(flaw.frame, (3, 4))
        local = (places - placed[:, 3]) @ np.linalg.inv(placed[:, :3]).T
        aside = (local - own[:, 3]) @ own[:, :3]
        # As deep below the rectangle as it is wide, for curved surfaces; not on the other side of a sheet.
        return (abs(aside) <= np.array([*flaw.size_m, max(flaw.size_m)]) / 2).all(axis=1)


def nearer(recipe: Recipe) -> Recipe:
    """The recipe seen from so near that many of a scene's flaws are out of the picture."""
    cameras = tuple(msgspec.structs.replace(camera, view_m=0.2) for camera in recipe.cameras)
    return msgspec.structs.replace(recipe, name=f"{recipe.name}, views of 0.2 m", cameras=cameras)


def verification(recipe: Recipe, count: int, out: Path) -> None:
    """Print seconds per verification, views it skips, and its errors compared with a pre-pass."""
    open_dataset(out, recipe, 0)
    studio, assets = SceneRenderer(out, os.cpu_count() or 1), load_assets(recipe, RECIPES)
    scene, before = studio.stage.scene, PrePass(studio.stage.scene)
    spent: dict[str, list[float]] = {"rays": [], "pre-pass": [], "render": []}
    skipped, views, flaws = 0, 0, 0
    wrong = {"rays": [0, 0], "pre-pass": [0, 0]}
    for index in range(count):
        spec = plan(recipe, assets, 0, index)
        studio.stage.set(spec)
        began = time.perf_counter()
        sights = verify(scene, spec, studio.stage.meshes.surface)
        spent["rays"].append((time.perf_counter() - began) / len(sights))
        looked = []
        for view in spec.views:
            began = time.perf_counter()
            looked.append(before.flaws(spec, view))
            spent["pre-pass"].append(time.perf_counter() - began)
        studio.stage.assign_materials(spec)
        for view, sight, seen in zip(spec.views, sights, looked, strict=True):
            began = time.perf_counter()
            shot = passes.shoot(scene, spec, view)
            spent["render"].append(time.perf_counter() - began)
            views, skipped, flaws = views + 1, skipped + bool(sight.reason), flaws + len(shot.flaws)
            shown = {
                n for n, mask in shot.flaws.items() if (mask > 0.5).sum() >= recipe.labels.min_visible_px
            }
            for way, said in (("rays", sight.flaws), ("pre-pass", seen)):
                wrong[way][0] += len(shown - said)
                wrong[way][1] += len(said - shown)
    means = {way: float(np.mean(seconds)) for way, seconds in spent.items()}
    print(f"\n{recipe.name}: {views} views with {flaws} flaws; a render takes {means['render']:.2f} s")
    for way, (missed, taken) in wrong.items():
        print(f"  {way:8} {means[way] * 1000:4.0f} ms a view; flaws missed {missed}, wrongly seen {taken}")
    print(
        f"  {skipped} views skipped: verification costs {means['rays'] * views:.1f} s, "
        f"saves {skipped * means['render']:.1f} s"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Send Blender's own prints, which go to fd 1, away; ours to the real one."""
    real = os.dup(1)
    sys.stdout = os.fdopen(real, "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPES / "dice.toml")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--memory", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, quiet():
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
