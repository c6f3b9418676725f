"""Materials, compiled once per worker: what differs between things is read from their custom properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy


class Nodes:
    """A small hand for node trees: add a node, set and link its inputs by name."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        """Start from an empty tree."""
        self._tree = tree
        tree.nodes.clear()

    def add(self, kind: str, inputs: Mapping[Any, Any] | None = None, **settings: Any) -> Any:
        """A node; an input is a socket to link from, or a value."""
        node = self._tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self._tree.links.new(value, node.inputs[key])
            else:
                node.inputs[key].default_value = value
        return node

    def prop(self, name: str, output: str = "Fac") -> Any:
        """A custom property of the object being shaded; output "Color" for three numbers."""
        return self.add("ShaderNodeAttribute", attribute_type="OBJECT", attribute_name=name).outputs[output]

    def maths(self, operation: str, a: Any, b: Any) -> Any:
        """One arithmetic step, clamped to [0, 1]."""
        return self.add("ShaderNodeMath", {0: a, 1: b}, operation=operation, use_clamp=True).outputs[0]

    def mix(self, factor: Any, a: Any, b: Any) -> Any:
        """A mixture of two colours."""
        node = self.add("ShaderNodeMix", data_type="RGBA")
        for socket, value in zip(
            (node.inputs[0], node.inputs[6], node.inputs[7]), (factor, a, b), strict=True
        ):
            self._tree.links.new(value, socket)
        return node.outputs[2]


class MaterialShelf:
    """One material per family, made when first asked for."""

    def __init__(self) -> None:
        """Start empty."""
        self._made: dict[str, bpy.types.Material] = {}

    def die(self) -> bpy.types.Material:
        """Plastic with marbling, translucency and painted pips."""
        return self._get("die", _die)

    def plain(self) -> bpy.types.Material:
        """One colour and roughness."""
        return self._get("plain", _plain)

    def ground(self, pattern: str) -> bpy.types.Material:
        """A table top: "plain" (faint clouds), "speckle" or "wood"."""
        return self._get(pattern + " ground", _GROUNDS[pattern])

    def _get(self, name: str, build: Any) -> bpy.types.Material:
        if name not in self._made:
            material = bpy.data.materials.new(name)
            material.use_nodes = True
            material.use_fake_user = True
            build(Nodes(material.node_tree))
            self._made[name] = material
        return self._made[name]


def _output(n: Nodes, shader: Any) -> None:
    n.add("ShaderNodeOutputMaterial", {"Surface": shader})


def _die(n: Nodes) -> None:
    place = n.add("ShaderNodeTexCoord").outputs["Object"]
    seed = n.prop("marble_seed")
    swirl = n.add(
        "ShaderNodeTexNoise",
        {"Vector": place, "W": seed, "Scale": 2.2, "Detail": 2.0, "Distortion": 1.5},
        noise_dimensions="4D",
    ).outputs[0]
    ramp = n.add("ShaderNodeMapRange", {"Value": swirl, "From Min": 0.42, "From Max": 0.58}).outputs[0]
    body = n.mix(
        n.maths("MULTIPLY", ramp, n.prop("marble")), n.prop("body", "Color"), n.prop("second", "Color")
    )
    pip = n.add("ShaderNodeAttribute", attribute_type="GEOMETRY", attribute_name="pip").outputs["Fac"]
    colour = n.mix(pip, body, n.prop("pip_colour", "Color"))
    clear = n.maths("SUBTRACT", n.prop("translucency"), pip)
    shader = n.add(
        "ShaderNodeBsdfPrincipled",
        {"Base Color": colour, "Roughness": n.prop("roughness"), "Transmission Weight": clear, "IOR": 1.45},
    )
    _output(n, shader.outputs[0])


def _plain(n: Nodes) -> None:
    inputs = {"Base Color": n.prop("colour", "Color"), "Roughness": n.prop("roughness")}
    _output(n, n.add("ShaderNodeBsdfPrincipled", inputs).outputs[0])


def _ground(n: Nodes, factor: Any) -> None:
    strength = n.maths("MULTIPLY", factor, n.prop("grain"))
    colour = n.mix(strength, n.prop("colour", "Color"), n.prop("dark", "Color"))
    inputs = {"Base Color": colour, "Roughness": n.prop("roughness"), "Specular IOR Level": 0.3}
    _output(n, n.add("ShaderNodeBsdfPrincipled", inputs).outputs[0])


def _noise(n: Nodes, place: Any, detail: float) -> Any:
    inputs = {"Vector": place, "W": n.prop("pattern_seed"), "Scale": n.prop("grain_per_m"), "Detail": detail}
    return n.add("ShaderNodeTexNoise", inputs, noise_dimensions="4D").outputs[0]


def _clouds(n: Nodes) -> None:
    _ground(n, _noise(n, n.add("ShaderNodeTexCoord").outputs["Object"], 1.0))


def _speckle(n: Nodes) -> None:
    noise = _noise(n, n.add("ShaderNodeTexCoord").outputs["Object"], 4.0)
    _ground(n, n.add("ShaderNodeMapRange", {"Value": noise, "From Min": 0.55, "From Max": 0.65}).outputs[0])


def _wood(n: Nodes) -> None:
    place = n.add("ShaderNodeTexCoord").outputs["Object"]
    along = n.add("ShaderNodeMapping", {"Vector": place, "Scale": (0.08, 1.0, 1.0)}).outputs[0]
    noise = _noise(n, along, 3.0)
    rings = n.maths(
        "FRACT", n.add("ShaderNodeMath", {0: noise, 1: 9.0}, operation="MULTIPLY").outputs[0], 0.0
    )
    _ground(n, rings)


_GROUNDS = {"plain": _clouds, "speckle": _speckle, "wood": _wood}
