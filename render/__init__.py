"""Synthetic data: a recipe in, rendered images with COCO boxes and masks out.

    from render import render_dataset
    render_dataset(Path("configs/render/dice.toml"), Path("out"), count=100, seed=0)

Blender runs in a worker process; nothing here but `render.worker` imports bpy.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

#: Where each name is from: al-loop's commands use small modules of this package, and must not wait for SciPy.
_HOMES = {
    "Assets": "assets",
    "load_assets": "assets",
    "categories": "categories",
    "render_dataset": "dataset",
    "plan": "plan",
    "load_recipe": "reading",
    "parse_recipe": "reading",
    "Recipe": "recipe",
    "SceneSpec": "spec",
}


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # A package that is imported becomes an attribute of the one it is in: two here have the name of a function.
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
