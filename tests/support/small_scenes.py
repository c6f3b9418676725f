"""Small scenes made by hand, without recipe and plan: for tests of what the camera sees."""

import math

import numpy as np

from render.core.spec import (
    BackgroundSpec,
    CameraSpec,
    DefectSpec,
    LabelSpec,
    LightSpec,
    MaterialSpec,
    MeshSpec,
    ObjectSpec,
    QualitySpec,
    SceneSpec,
    SensorSpec,
    ViewSpec,
)
from render.shapes.kernels.surface import polygons

SIDE = 128
GREY = MaterialSpec("plastic")


def cube():
    points = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return polygons(points, np.array(faces))


def ball(rings=48):
    """A ball of diameter 1, its corners on the sphere."""
    down, around = np.linspace(0, math.pi, rings + 1), np.linspace(0, 2 * math.pi, 2 * rings, endpoint=False)
    d, a = (g.ravel() for g in np.meshgrid(down, around, indexing="ij"))
    points = np.stack([np.sin(d) * np.cos(a), np.sin(d) * np.sin(a), np.cos(d)], axis=1) / 2
    row, column = (g.ravel() for g in np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij"))
    right = (column + 1) % (2 * rings)
    n = 2 * rings
    return polygons(
        points,
        np.stack([row * n + column, (row + 1) * n + column, (row + 1) * n + right, row * n + right], axis=1),
    )


def plate():
    return polygons(
        np.array([(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0.0)]), np.array([(0, 1, 2, 3)])
    )


SURFACES = {"cube": cube(), "ball": ball(), "plate": plate()}


def surface_of(mesh):
    return SURFACES[mesh.shape]


def at(x=0.0, y=0.0, z=0.0, size=1.0, turn=0.0):
    c, s = math.cos(turn) * size, math.sin(turn) * size
    return (c, -s, 0.0, x, s, c, 0.0, y, 0.0, 0.0, size, z)


def thing(shape, pose, index=1, **more):
    more.setdefault("category", shape if index else None)
    return ObjectSpec(f"{shape} {index}", MeshSpec(shape=shape), pose, GREY, index=index, **more)


#: Straight down from 10 m; 10 px per metre and metre of depth at the ground.
DOWN = CameraSpec("down", at(z=10.0), 100.0)
FAR = CameraSpec("far", at(z=1000.0), 1000.0 * 20)  # 20 px per metre, perspective all but gone


def scene(*objects, camera=DOWN, background="procedural", samples=2, side=SIDE, **labels):
    return SceneSpec(
        seed=0, index=0, width=side, height=side, format="png", quality=QualitySpec(samples, "off", 1),
        labels=LabelSpec(**labels), objects=objects, views=(ViewSpec(0, camera, SensorSpec(), 3),),
        light=LightSpec("studio", 1.0, (0.0, 0.0, 0.0)), background=BackgroundSpec(kind=background),
    )  # fmt: skip


def build(spec, materials=dict):
    """The scene in Blender, lit by a sun and a grey world; `materials()` are by the place of the object."""
    import bpy
    import mathutils

    from render.worker.passes import configure

    bpy.ops.wm.read_factory_settings(use_empty=True)
    stage = bpy.context.scene
    configure(stage, 2)
    batch = materials()
    for number, one in enumerate(spec.objects):
        surface = surface_of(one.mesh)
        mesh = bpy.data.meshes.new(one.name)
        mesh.from_pydata(
            surface.vertices.tolist(), [], np.split(surface.corners, np.cumsum(surface.sizes)[:-1])
        )
        made = bpy.data.objects.new(one.name, mesh)
        made.matrix_world = mathutils.Matrix([*np.reshape(one.pose, (3, 4)).tolist(), [0, 0, 0, 1]])
        made.pass_index, made.is_shadow_catcher = one.index, one.shadow_catcher
        mesh.materials.append(batch.get(number))
        stage.collection.objects.link(made)
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    stage.collection.objects.link(sun)
    stage.world = bpy.data.worlds.new("world")
    return stage


def flaw(number, x, y, z, size, **more):
    """A flaw that lies on a face that looks up."""
    return DefectSpec(number, "flaw", "blot", at(x, y, z), (size, size), **more)
