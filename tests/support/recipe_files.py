"""Recipes that name files, the files, and what is said when one is at fault."""

import PIL.Image
import pytest

from render.assets.load import load_assets
from render.core.errors import AssetError
from render.recipe.tables import Part, Recipe


def recipe(*parts, **tables):
    return Recipe(name="x", parts=parts or (Part(name="die", shape="die"),), **tables)


def picture(path, colour=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (32, 24), (colour, colour, colour)).save(path)


def fault(wanted, root, python=None):
    with pytest.raises(AssetError) as raised:
        load_assets(wanted, root, python=python)
    return str(raised.value)
