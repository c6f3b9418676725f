"""Builds shader trees, and describes a surface before it becomes a shader.

A value is the output socket of a node, or a constant: a float, or three numbers (colours: linear RGB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import bpy

from render.core.spec import Vector

#: A socket to link from, or a constant.
Value = Any


@dataclass(frozen=True)
class SurfaceSockets:
    """Shader inputs of a surface: sockets or constants. Use `dataclasses.replace` to change one.

    colour: linear RGB.
    roughness, metallic, transmission, alpha: in [0, 1].
    normal: in world space; None for the mesh's own. `Nodes.bump(height, below=surface.normal)` adds a bump.
    displacement: height above the mesh in metres, outward; None for no displacement.
    coat: weight of a clear coat.
    tangent: world direction in which an anisotropic surface is brushed.
    """

    colour: Value
    roughness: Value = 0.5
    metallic: Value = 0.0
    normal: Value | None = None
    transmission: Value = 0.0
    alpha: Value = 1.0
    displacement: Value | None = None
    ior: Value = 1.45
    specular: Value = 0.5
    coat: Value = 0.0
    coat_roughness: Value = 0.03
    coat_normal: Value | None = None
    anisotropic: Value = 0.0
    tangent: Value | None = None


class Nodes:
    """Adds nodes to one shader tree; inputs are values (see above)."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        """Remove all nodes of the tree."""
        self._tree = tree
        self._attributes: dict[tuple[str, str], Any] = {}
        tree.nodes.clear()

    def add(self, kind: str, inputs: Mapping[Any, Value] | None = None, **settings: Any) -> Any:
        """Add a node of type `kind` and return it; inputs by name or number, settings as attributes."""
        node = self._tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        for key, value in (inputs or {}).items():
            socket = node.inputs[key]
            if isinstance(value, bpy.types.NodeSocket):
                self._tree.links.new(value, socket)
            else:
                socket.default_value = _fit_to_socket(value, socket)
        return node

    # ---- coordinates --------------------------------------------------------------------------------------

    @cached_property
    def metres(self) -> Value:
        """Coordinates in the object's own frame, in metres (its units times the property "scale_m")."""
        place = self.add("ShaderNodeTexCoord").outputs["Object"]
        return self.vector("MULTIPLY", place, self.prop("scale_m"))

    @cached_property
    def facing(self) -> Value:
        """The mesh's normal in the object's own frame, a unit vector (where the object is scaled evenly)."""
        return self.add("ShaderNodeTexCoord").outputs["Normal"]

    @cached_property
    def upright(self) -> Value:
        """The interpolated normal of the mesh in world space."""
        return self.add("ShaderNodeNewGeometry").outputs["Normal"]

    def to_world(self, vector: Value, kind: str = "VECTOR") -> Value:
        """Transform a vector from the object's frame to the world; kind "NORMAL" for a surface normal."""
        settings = {"vector_type": kind, "convert_from": "OBJECT", "convert_to": "WORLD"}
        return self.add("ShaderNodeVectorTransform", {0: vector}, **settings).outputs[0]

    def prop(self, name: str, output: str = "Fac") -> Value:
        """Return a custom property of the shaded object; output "Color" or "Vector" for three numbers."""
        return self._attribute("OBJECT", name, output)

    def attribute(self, name: str) -> Value:
        """Return an attribute of the shaded mesh; 0 if the mesh has no such attribute."""
        return self._attribute("GEOMETRY", name, "Fac")

    def _attribute(self, kind: str, name: str, output: str) -> Value:
        if (kind, name) not in self._attributes:
            node = self.add("ShaderNodeAttribute", attribute_type=kind, attribute_name=name)
            self._attributes[kind, name] = node
        return self._attributes[kind, name].outputs[output]

    # ---- arithmetic ---------------------------------------------------------------------------------------

    def maths(
        self, operation: str, a: Value, b: Value = 0.0, c: Value = 0.0, *, clamp: bool = False
    ) -> Value:
        """Apply an operation to numbers; clamp: limit the result to [0, 1]."""
        node = self.add("ShaderNodeMath", {0: a, 1: b, 2: c}, operation=operation, use_clamp=clamp)
        return node.outputs[0]

    def vector(self, operation: str, a: Value, b: Value = 0.0, c: Value = 0.0) -> Value:
        """Apply an operation to vectors; a number stands for three equal components."""
        node = self.add("ShaderNodeVectorMath", {0: a, 1: b, 2: c}, operation=operation)
        return node.outputs["Value" if operation in ("DOT_PRODUCT", "LENGTH", "DISTANCE") else "Vector"]

    def combine(self, x: Value, y: Value, z: Value) -> Value:
        """Combine three numbers into a vector."""
        return self.add("ShaderNodeCombineXYZ", {0: x, 1: y, 2: z}).outputs[0]

    def separate(self, vector: Value) -> tuple[Value, Value, Value]:
        """Split a vector into three numbers."""
        x, y, z = self.add("ShaderNodeSeparateXYZ", {0: vector}).outputs
        return x, y, z

    def ramp(self, value: Value, low: Value, high: Value, to_low: Value = 0.0, to_high: Value = 1.0) -> Value:
        """Map [low, high] to [to_low, to_high] linearly, constant outside; low > high reverses it."""
        inputs = {"Value": value, "From Min": low, "From Max": high, "To Min": to_low, "To Max": to_high}
        return self.add("ShaderNodeMapRange", inputs).outputs[0]

    def mix(self, factor: Value, a: Value, b: Value, kind: str = "RGBA") -> Value:
        """Interpolate colours, numbers (kind "FLOAT") or vectors ("VECTOR"): a at factor 0, b at 1."""
        first, second, output = {"RGBA": (6, 7, 2), "FLOAT": (2, 3, 0), "VECTOR": (4, 5, 1)}[kind]
        return self.add("ShaderNodeMix", {0: factor, first: a, second: b}, data_type=kind).outputs[output]

    # ---- patterns -----------------------------------------------------------------------------------------

    def noise(self, place: Value, detail: float = 2.0, distortion: float = 0.0, rough: float = 0.5) -> Value:
        """Return Perlin noise at `place`, in cells: mean 0.5, nearly all within [0.25, 0.75]."""
        inputs = {"Vector": place, "Scale": 1.0, "Detail": detail}
        inputs |= {"Roughness": rough, "Distortion": distortion}
        return self.add("ShaderNodeTexNoise", inputs, noise_dimensions="3D").outputs[0]

    def cells(self, place: Value, feature: str = "F1", dimensions: str = "3D") -> Any:
        """Return a Voronoi node at `place`, in cells: outputs "Distance", "Color" and, for F1, "Position"."""
        inputs = {"Vector": place, "Scale": 1.0, "Randomness": 1.0}
        return self.add("ShaderNodeTexVoronoi", inputs, feature=feature, voronoi_dimensions=dimensions)

    def gradient(self, value: Value, stops: Sequence[tuple[float, Vector]]) -> Value:
        """Map a number to a colour, linearly between the stops (position from 0 to 1, linear RGB)."""
        node = self.add("ShaderNodeValToRGB", {"Fac": value})
        elements = node.color_ramp.elements
        for position, _ in stops[2:]:
            elements.new(position)
        for element, (position, colour) in zip(elements, sorted(stops), strict=True):
            element.position, element.color = position, (*colour, 1.0)
        return node.outputs["Color"]

    def bump(self, height: Value, below: Value | None = None) -> Value:
        """Return the normal of a surface raised by `height` metres over a surface with normal `below`."""
        inputs = {"Height": height, "Strength": 1.0, "Distance": 1.0}
        return self.add("ShaderNodeBump", inputs if below is None else {**inputs, "Normal": below}).outputs[0]

    # ---- surfaces -----------------------------------------------------------------------------------------

    def blend(self, factor: Value, below: SurfaceSockets, above: SurfaceSockets) -> SurfaceSockets:
        """Blend two surfaces: `below` at factor 0, `above` at 1. Displacements are added."""
        sockets: dict[str, Value] = {}
        for name in SurfaceSockets.__dataclass_fields__:
            a, b = getattr(below, name), getattr(above, name)
            if a is b or (not any(isinstance(v, bpy.types.NodeSocket) for v in (a, b)) and a == b):
                sockets[name] = a
            elif name == "tangent":
                # The tangent matters only where the surface is anisotropic.
                sockets[name] = b if a is None else a
            elif name == "displacement":
                raised = None if b is None else self.maths("MULTIPLY", factor, b)
                sockets[name] = raised if a is None else a if raised is None else self.maths("ADD", a, raised)
            else:
                kind = {"colour": "RGBA", "normal": "VECTOR", "coat_normal": "VECTOR"}.get(name, "FLOAT")
                if kind == "VECTOR":
                    a, b = (self.upright if v is None else v for v in (a, b))
                sockets[name] = self.mix(factor, a, b, kind)
        return SurfaceSockets(**sockets)


def finish(nodes: Nodes, surface: SurfaceSockets) -> None:
    """Add the shader of a surface and the output node; unused inputs are not linked and cost nothing."""
    inputs = {
        "Base Color": surface.colour,
        "Roughness": surface.roughness,
        "Metallic": surface.metallic,
        "Transmission Weight": surface.transmission,
        "Alpha": surface.alpha,
        "IOR": surface.ior,
        "Specular IOR Level": surface.specular,
        "Coat Weight": surface.coat,
        "Coat Roughness": surface.coat_roughness,
        "Anisotropic": surface.anisotropic,
    }
    sockets = {"Normal": surface.normal, "Coat Normal": surface.coat_normal, "Tangent": surface.tangent}
    inputs |= {name: value for name, value in sockets.items() if value is not None}
    outputs = {"Surface": nodes.add("ShaderNodeBsdfPrincipled", inputs).outputs[0]}
    if surface.displacement is not None:
        height = {"Height": surface.displacement, "Midlevel": 0.0, "Scale": 1.0}
        outputs["Displacement"] = nodes.add("ShaderNodeDisplacement", height, space="WORLD").outputs[0]
    nodes.add("ShaderNodeOutputMaterial", outputs)


def _fit_to_socket(value: Any, socket: Any) -> Any:
    """Return a constant with as many numbers as the socket takes."""
    if socket.type == "RGBA":
        r, g, b = (value, value, value) if isinstance(value, (int, float)) else tuple(value)[:3]
        return (r, g, b, 1.0)
    if socket.type == "VECTOR" and isinstance(value, (int, float)):
        return (value, value, value)
    return value
