"""Synthetic data: a recipe in, rendered images with COCO boxes out.

    from render import render_dataset
    render_dataset(Path("configs/render/dice.toml"), Path("out"), count=100, seed=0)

Blender runs in a worker process; nothing here but `render.worker` imports bpy.
"""

from render.dataset import render_dataset
from render.errors import (
    BlenderMissingError,
    DatasetError,
    RecipeError,
    RenderError,
    WorkerCrashedError,
    WorkerError,
)
from render.plan import plan
from render.recipe import Recipe, load_recipe, parse_recipe
from render.spec import SceneSpec

__all__ = [
    "BlenderMissingError",
    "DatasetError",
    "Recipe",
    "RecipeError",
    "RenderError",
    "SceneSpec",
    "WorkerCrashedError",
    "WorkerError",
    "load_recipe",
    "parse_recipe",
    "plan",
    "render_dataset",
]
