"""Synthetic data: a recipe in, rendered images with COCO boxes and masks out.

    from render import render_dataset
    render_dataset(Path("configs/render/dice.toml"), Path("out"), count=100, seed=0)

Blender runs in a worker process; nothing here but `render.worker` imports bpy.
"""

from render.assets import Assets, load_assets
from render.categories import categories
from render.dataset import render_dataset
from render.errors import (
    AssetError,
    BlenderMissingError,
    DatasetError,
    RecipeError,
    RenderError,
    WorkerCrashedError,
    WorkerError,
)
from render.plan import plan
from render.reading import load_recipe, parse_recipe
from render.recipe import Recipe
from render.spec import SceneSpec

__all__ = [
    "AssetError",
    "Assets",
    "BlenderMissingError",
    "DatasetError",
    "Recipe",
    "RecipeError",
    "RenderError",
    "SceneSpec",
    "WorkerCrashedError",
    "WorkerError",
    "categories",
    "load_assets",
    "load_recipe",
    "parse_recipe",
    "plan",
    "render_dataset",
]
