"""From a SceneSpec to a Blender scene, and away again."""

from __future__ import annotations

import bpy
import mathutils

from render.spec import SceneSpec, SurfaceSpec, ThingSpec, TraySpec, Vector
from render.worker.camera import aim
from render.worker.dice import DiceShelf
from render.worker.lighting import Skies
from render.worker.materials import MaterialShelf

#: The table reaches this far, in view widths of the camera's distance.
TABLE_REACH = 30.0


class Stage:
    """The one scene of a worker: emptied and set anew for every spec; moulds, materials and skies stay."""

    def __init__(self) -> None:
        """Empty Blender of its default scene."""
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._materials = MaterialShelf()
        self._dice = DiceShelf(self._materials)
        self._skies = Skies()
        self._solids = _solids()

    def set(self, spec: SceneSpec) -> None:
        """Empty the scene and build what the spec says."""
        self._clear()
        for number, die in enumerate(spec.dice, start=1):
            self._dice.stand(self.scene, die, number)
        for number, thing in enumerate(spec.things):
            self._lay(thing, number)
        self._lay_table(spec.surface, spec.camera.distance_m)
        self._skies.light(self.scene, spec.light)
        aim(self.scene, spec.camera)

    def _clear(self) -> None:
        for thing in list(bpy.data.objects):
            bpy.data.objects.remove(thing)
        bpy.data.orphans_purge()

    def _lay(self, thing: ThingSpec, number: int) -> None:
        made = self._add(f"thing {number:03d}", thing.kind, thing.location, thing.size_m, thing.yaw_rad)
        made["colour"], made["roughness"] = thing.colour, thing.roughness
        self._wear(made, self._materials.plain())

    def _lay_table(self, surface: SurfaceSpec, distance_m: float) -> None:
        reach = distance_m * TABLE_REACH
        table = self._add("table", "plane", (0.0, 0.0, 0.0), (reach, reach, 1.0), 0.0)
        self._dress(table, surface)
        if surface.tray is not None:
            for number, (place, size, yaw) in enumerate(_walls(surface.tray)):
                wall = self._add(f"wall {number}", "box", place, size, yaw)
                wall["colour"], wall["roughness"] = surface.tray.rim, surface.roughness
                self._wear(wall, self._materials.plain())

    def _dress(self, thing: bpy.types.Object, surface: SurfaceSpec) -> None:
        thing["colour"], thing["dark"] = surface.colour, surface.dark
        thing["roughness"], thing["grain"] = surface.roughness, surface.grain
        # Object coordinates of the table are shares of its side.
        thing["grain_per_m"] = thing.scale.x / surface.grain_size_m
        thing["pattern_seed"] = surface.pattern_seed
        self._wear(thing, self._materials.ground(surface.pattern))

    def _wear(self, thing: bpy.types.Object, material: bpy.types.Material) -> None:
        thing.material_slots[0].link = "OBJECT"
        thing.material_slots[0].material = material

    def _add(self, name: str, solid: str, place: Vector, size: Vector, yaw: float) -> bpy.types.Object:
        thing = bpy.data.objects.new(name, self._solids[solid])
        thing.location, thing.scale, thing.rotation_euler = place, size, (0.0, 0.0, yaw)
        self.scene.collection.objects.link(thing)
        return thing


def _walls(tray: TraySpec) -> list[tuple[Vector, Vector, float]]:
    """Centre, size and yaw of the four walls."""
    (x, y), h, w = tray.inner_m, tray.wall_height_m, tray.wall_m
    sides = [
        ((0.0, (y + w) / 2, h / 2), (x + 2 * w, w, h)),
        ((0.0, -(y + w) / 2, h / 2), (x + 2 * w, w, h)),
        (((x + w) / 2, 0.0, h / 2), (w, y, h)),
        ((-(x + w) / 2, 0.0, h / 2), (w, y, h)),
    ]
    turn = mathutils.Matrix.Rotation(tray.yaw_rad, 3, "Z")
    return [(tuple(turn @ mathutils.Vector(place)), size, tray.yaw_rad) for place, size in sides]


def _solids() -> dict[str, bpy.types.Mesh]:
    """Unit meshes for tables, walls and distractors, each with one empty material slot."""
    import bmesh  # bpy must be imported first

    made = {}
    for name in ("plane", "box", "sphere", "cylinder", "cone"):
        shape = bmesh.new()
        if name == "plane":
            bmesh.ops.create_grid(shape, x_segments=1, y_segments=1, size=0.5)
        elif name == "box":
            bmesh.ops.create_cube(shape, size=1.0)
        elif name == "sphere":
            bmesh.ops.create_uvsphere(shape, u_segments=32, v_segments=16, radius=0.5)
        else:
            top = 0.5 if name == "cylinder" else 0.1
            bmesh.ops.create_cone(shape, cap_ends=True, segments=32, radius1=0.5, radius2=top, depth=1.0)
        mesh = bpy.data.meshes.new(name)
        shape.to_mesh(mesh)
        shape.free()
        mesh.materials.append(None)
        mesh.use_fake_user = True
        made[name] = mesh
    return made
