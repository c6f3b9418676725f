"""Distractors: unlabelled objects between the parts."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from render.assets.bodies import body_of
from render.assets.load import Assets
from render.core.spec import MeshSpec, ObjectSpec
from render.geometry.placement import AirArea, PlacementArea
from render.geometry.transforms import about, pose, random_rotation
from render.planner.materials import draw_material
from render.recipe.distributions import draw, draw_int
from render.recipe.tables import Recipe

_PRIMITIVES = ("box", "cylinder", "sphere", "cone", "torus")


def scatter(recipe: Recipe, assets: Assets, area: PlacementArea, rng: Generator) -> tuple[ObjectSpec, ...]:
    """Place unlabelled objects between the parts; leave out those without a free position."""
    if area is None:
        return ()
    table = recipe.distractors
    meshes = assets.mesh_folders.get(table.folder, ()) if table.folder else ()
    objects: list[ObjectSpec] = []
    for _ in range(draw_int(table.count, rng)):
        size, material = draw(table.size_m, rng), draw_material(table.materials, assets, rng)
        if meshes:
            asset = meshes[int(rng.integers(len(meshes)))]
            parts = [MeshSpec(file=asset.key, component=c) for c in asset.components]
            size /= asset.longest_m
        else:
            form = {"y": float(rng.uniform(0.3, 1.0)), "z": float(rng.uniform(0.3, 1.0))}
            parts = [MeshSpec(shape=_PRIMITIVES[int(rng.integers(len(_PRIMITIVES)))], form=form)]
        turn = about(np.array([0.0, 0.0, 1.0]), float(rng.uniform(0, 2 * math.pi)))
        if isinstance(area, AirArea):
            turn = random_rotation(rng)
        position = area.place(body_of(tuple(parts)).hull @ turn.T * size, 0.0, rng)
        if position is None:
            continue
        name = f"distractor {len(objects)}"
        objects += [
            ObjectSpec(name, mesh, pose(turn, np.array(position), size), material, role="distractor")
            for mesh in parts
        ]
    return tuple(objects)
