"""What rendering costs beside Cycles, against bare renders and against a second render for the labels; one run.

    .venv/bin/python benchmarks/render.py [--recipe configs/render/dice.toml] [--scenes 20] [--memory 500]

The same scenes, samples and denoiser in turn, with boxes and masks:
  ours      one render, picture and labels from its passes, committed to disk
  bare      bpy.ops.render.render alone on the scene as it stands: what no tool can save
  two       the common way: picture to disk, every object in a flat colour, a second render to disk with the same
            samples, both read back, boxes and masks from the colours
  two, one  the same by somebody careful, whose second render takes one sample
Then: memory of one worker over many small scenes, and what content verification costs and saves on panel-break.
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
from render.masks import encode
from render.recipe import Image, Quality, Recipe
from render.spec import SceneSpec
from render.worker.camera import aim
from render.worker.studio import Studio
from render.worker.verify import verify
from render.writers import open_dataset

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


def make(studio: Studio, spec: SceneSpec) -> None:
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
    """Time the three ways on the same scenes, in turn."""
    open_dataset(out, recipe, 0)
    studio, specs = Studio(out, os.cpu_count() or 1), scenes(recipe, root, count + 1)
    scene = studio.stage.scene
    flat = Flat(scene, out)
    times: dict[str, list[float]] = {"ours": [], "bare": [], "two": [], "two, one": []}
    for number, spec in enumerate(specs):
        began = time.perf_counter()
        make(studio, spec)
        ours = time.perf_counter()
        scene.update_tag()
        bpy.ops.render.render(write_still=False)
        bare = time.perf_counter()
        with exr(scene):
            studio.stage.set(spec)
            studio.stage.dress(spec)
            aim(scene, spec.views[0].camera, spec.width, spec.height)
            flat.picture()
            picture = time.perf_counter()
            flat.labels(1)
            one = time.perf_counter()
            flat.labels(spec.quality.samples)
        same = time.perf_counter()
        if number:  # the first scene compiles and loads what the others find
            spent = (ours - began, bare - ours, picture - bare + same - one, one - bare)
            for name, seconds in zip(times, spent, strict=True):
                times[name].append(seconds)
    print(
        f"\n{recipe.name}, {specs[0].width}x{specs[0].height}, {specs[0].quality.samples} samples, {count} scenes"
    )
    for name, seconds in times.items():
        print(f"  {name:8} {60 / np.mean(seconds):6.1f} images per minute, {np.mean(seconds):.3f} s each")
    ours_s, bare_s, two_s, one_s = (float(np.sum(times[name])) for name in times)
    print(
        f"  time outside Cycles: {(1 - bare_s / ours_s) * 100:.1f} % of ours (bare / ours = {bare_s / ours_s:.3f})"
    )
    print(f"  two renders / ours = {two_s / ours_s:.2f}; the second of one sample: {one_s / ours_s:.2f}")


def resident_mb() -> float:
    """Memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(recipe: Recipe, root: Path, count: int, out: Path) -> None:
    """Memory of one worker while it makes many small scenes."""
    open_dataset(out, recipe, 0)
    studio, assets = Studio(out, os.cpu_count() or 1), load_assets(recipe, root)
    seen = []
    for index in range(count):
        make(studio, plan(recipe, assets, 0, index))
        if (index + 1) % max(1, count // 10) == 0:
            seen.append(f"{index + 1}: {resident_mb():.0f}")
    print(f"\nmemory after scenes, MiB: {', '.join(seen)}")


def verification(count: int, out: Path) -> None:
    """Seconds a look costs, and how many views it finds not worth rendering."""
    recipe = sized(load_recipe(RECIPES / "panel-break.toml"), 640, 360, 8)
    open_dataset(out, recipe, 0)
    studio, assets = Studio(out, os.cpu_count() or 1), load_assets(recipe, RECIPES)
    looks, renders, skipped, views = [], [], 0, 0
    for index in range(count):
        spec = plan(recipe, assets, 0, index)
        studio.stage.set(spec)
        began = time.perf_counter()
        sights = verify(studio.stage.scene, spec, studio.stage.meshes.surface)
        looks.append(time.perf_counter() - began)
        views += len(sights)
        skipped += sum(bool(sight.reason) for sight in sights)
        if index < 8:
            began = time.perf_counter()
            make(studio, spec)
            kept = sum(not sight.reason for sight in sights)
            renders += [(time.perf_counter() - began) / kept] if kept else []
    each = float(np.mean(renders))
    print(
        f"\npanel-break: verification {np.mean(looks) * 1000:.0f} ms a scene, {skipped} of {views} views skipped"
    )
    print(f"  {each:.2f} s a rendered view: costs {np.sum(looks):.1f} s, saves {skipped * each:.1f} s")


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
            verification(args.scenes, out / "verify")
        if args.memory:
            memory(sized(recipe, 64, 48, 1, masks=False), args.recipe.parent, args.memory, out / "memory")


if __name__ == "__main__":
    main()
