"""Inputs of a material builder: the values of the material, and coordinates in its grains."""

from __future__ import annotations

from dataclasses import dataclass

from render.core.spec import MaterialSpec, Vector
from render.worker.materials.nodes import Nodes, Value


@dataclass(frozen=True, eq=False)
class MaterialInputs:
    """A MaterialSpec with all defaults filled in, and the tree that it is built into.

    shared: read values from custom properties of the object, so that many objects share the material. If
        False, values are constants of the tree.
    uv: whether the mesh has texture coordinates.
    """

    nodes: Nodes
    spec: MaterialSpec
    shared: bool
    uv: bool = False

    def number(self, name: str) -> Value:
        """Return a scalar of the material."""
        return self.nodes.prop(name) if self.shared else self.spec.numbers[name]

    def colour(self, name: str) -> Value:
        """Return a colour of the material, linear RGB."""
        return self.nodes.prop(name, "Color") if self.shared else self.spec.colours[name]

    def on(self, option: str) -> bool:
        """Return whether the option is on; the tree has no nodes for options that are off."""
        return self.spec.numbers.get(option, 0.0) > 0 or option in self.spec.images

    def option(self, name: str) -> Value:
        """Return a scalar of the material, or the constant 0 if the option is off."""
        return self.number(name) if self.on(name) else 0.0

    def shift(self) -> Value:
        """Return the offset of the material in the noise, in cells."""
        return self.nodes.prop("shift", "Vector") if self.shared else shift(self.spec.seed)

    def grains(self, size: float = 1.0, stretch: Vector = (1.0, 1.0, 1.0)) -> Value:
        """Return coordinates in cells of `size` grains, stretched along the object's axes by `stretch`."""
        n = self.nodes
        cells = n.vector("DIVIDE", n.metres, self.number("grain_m"))
        per_cell = (1 / (size * stretch[0]), 1 / (size * stretch[1]), 1 / (size * stretch[2]))
        return n.vector("MULTIPLY_ADD", cells, per_cell, self.shift())

    def height(self, pattern: Value, grains: float, option: str = "") -> Value:
        """Scale a pattern in [0, 1] to a height in metres: 1 becomes `grains` times the option's strength."""
        n = self.nodes
        size = n.maths("MULTIPLY", self.number("grain_m"), grains)
        if option:
            size = n.maths("MULTIPLY", size, self.number(option))
        return n.maths("MULTIPLY", pattern, size)


def shift(seed: float) -> Vector:
    """Return three offsets in cells, far apart for close seeds, and below 400, where float32 suffices."""
    return (seed * 17.17 % 397, seed * 29.71 % 397, seed * 41.93 % 397)
