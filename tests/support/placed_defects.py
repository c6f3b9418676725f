"""Flaws placed on things made by hand."""

import msgspec
import numpy as np
from support.small_scenes import DOWN, surface_of

from render.assets.load import Assets
from render.planner.defects import place
from render.recipe.tables import Defects, Part, Recipe

SIZE = (128, 128)


def recipe(*kinds, **more):
    return Recipe(name="r", parts=(Part(name="p", shape="box"),), defects=Defects(kinds=kinds, **more))


def placed(defects, *objects, kinds=None, seed=0, cameras=(DOWN,), size=SIZE):
    kinds = range(len(defects.defects.kinds)) if kinds is None else kinds
    image = msgspec.structs.replace(defects.image, width=size[0], height=size[1])
    defects = msgspec.structs.replace(defects, image=image)
    rng = np.random.default_rng(seed)
    return place(defects, kinds, objects, cameras, surface_of, rng, assets=Assets())


def rows(pose):
    return np.reshape(pose, (3, 4))
