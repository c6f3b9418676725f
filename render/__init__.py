"""Synthetic data: a recipe in, rendered images with COCO boxes and masks out.

    from render import render_dataset
    render_dataset(Path("configs/render/dice.toml"), Path("out"), count=100, seed=0)

Blender runs in a worker process; nothing here but `render.worker` imports bpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from render.assets.load import Assets, load_assets
    from render.core.errors import (
        AssetError,
        BlenderMissingError,
        DatasetError,
        RecipeError,
        RenderError,
        WorkerCrashedError,
        WorkerError,
    )
    from render.core.options import RenderOptions
    from render.core.spec import SceneSpec
    from render.dataset.generate import render_dataset
    from render.planner.plan import plan
    from render.recipe.categories import categories
    from render.recipe.load import load_recipe, parse_recipe
    from render.recipe.tables import Recipe

__all__ = [
    "AssetError", "Assets", "BlenderMissingError", "DatasetError", "Recipe", "RecipeError", "RenderError",
    "RenderOptions", "SceneSpec", "WorkerCrashedError", "WorkerError", "categories", "load_assets",
    "load_recipe", "parse_recipe", "plan", "render_dataset",
]  # fmt: skip

#: Where each name is from: al-loop's commands use small modules of this package, and must not wait for SciPy.
_HOMES = {
    "Assets": "assets.load",
    "load_assets": "assets.load",
    "categories": "recipe.categories",
    "render_dataset": "dataset.generate",
    "plan": "planner.plan",
    "load_recipe": "recipe.load",
    "parse_recipe": "recipe.load",
    "Recipe": "recipe.tables",
    "RenderOptions": "core.options",
    "SceneSpec": "core.spec",
}


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'core.errors')}"), name)
