"""Things that lie about and mean nothing."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from render.assets.bodies import body_of
from render.assets.load import Assets
from render.core.spec import MeshSpec, ObjectSpec
from render.geometry.placement import Footprint
from render.geometry.transforms import about, footprint, pose, random_rotation
from render.planner.materials import look
from render.planner.parts import Room
from render.recipe.distributions import draw, draw_int
from render.recipe.tables import Recipe

_PRIMITIVES = ("box", "cylinder", "sphere", "cone", "torus")


def scatter(recipe: Recipe, assets: Assets, room: Room, rng: Generator) -> tuple[ObjectSpec, ...]:
    """Unlabelled things where the parts have left room; those that find none are left out."""
    wanted = recipe.distractors
    meshes = assets.mesh_folders.get(wanted.folder, ()) if wanted.folder else ()
    found: list[ObjectSpec] = []
    for _ in range(draw_int(wanted.count, rng)):
        size, material = draw(wanted.size_m, rng), look(wanted.materials, assets, rng)
        if meshes:
            asset = meshes[int(rng.integers(len(meshes)))]
            parts = [MeshSpec(file=asset.key, component=c) for c in asset.components]
            size /= asset.longest_m
        else:
            form = {"y": float(rng.uniform(0.3, 1.0)), "z": float(rng.uniform(0.3, 1.0))}
            parts = [MeshSpec(shape=_PRIMITIVES[int(rng.integers(len(_PRIMITIVES)))], form=form)]
        body = body_of(tuple(parts))
        turn = about(np.array([0.0, 0.0, 1.0]), float(rng.uniform(0, 2 * math.pi)))
        if room.air is not None:
            turn = random_rotation(rng)
        hull = body.hull @ turn.T * size
        if room.ground is not None:
            at = room.ground.place(Footprint.around(footprint(hull)), 0.0, rng)
            where = None if at is None else (at[0], at[1], -hull[:, 2].min())
        else:
            where = room.air.place(body.radius * size, 0.0, rng) if room.air is not None else None
        if where is None:
            continue
        found += [
            ObjectSpec(
                f"distractor {len(found)}",
                mesh,
                pose(turn, np.array(where), size),
                material,
                role="distractor",
            )
            for mesh in parts
        ]
    return tuple(found)
