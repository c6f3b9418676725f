"""A flaw on its way into a shader tree: its coordinates, its noise, the area it lies in.

Places are in half lengths of the flaw: x along it from -1 to 1, y across from -aspect to aspect, z outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mathutils
import numpy as np

from render.core.spec import DefectSpec
from render.recipe.outlines import COMMON, OUTLINES
from render.worker.materials.nodes import Nodes, Value

#: Noise of some octaves lies within 0.5 +- this.
SWING = 0.25


@dataclass(frozen=True, eq=False)
class Flaw:
    """A DefectSpec being built into a node tree. Lengths are in the object's own units."""

    nodes: Nodes
    spec: DefectSpec

    @property
    def half(self) -> float:
        """Half the length, in the object's own units."""
        return self.spec.size_m[0] / 2

    @property
    def aspect(self) -> float:
        """Width over length."""
        return self.spec.size_m[1] / self.spec.size_m[0]

    @property
    def pixel(self) -> float:
        """What a pixel of the nearest camera covers, in half lengths; 0 when not known."""
        return self.number("pixel") / self.half

    def number(self, name: str) -> float:
        """A number of the outline, its default where the spec says nothing."""
        known = {**COMMON, **OUTLINES[self.spec.outline]}
        return self.spec.numbers.get(name, known[name].default if name in known else 0.0)

    @cached_property
    def turn(self) -> mathutils.Matrix:
        """(3, 3): the object's own frame <- the flaw's."""
        return mathutils.Matrix(np.reshape(self.spec.frame, (3, 4))[:, :3].tolist())

    @cached_property
    def place(self) -> Value:
        """The place as a vector."""
        own = self.nodes.add("ShaderNodeTexCoord").outputs["Object"]
        at = tuple(np.reshape(self.spec.frame, (3, 4))[:, 3].tolist())
        return self.moved(own, at, tuple(self.turn.to_euler("XYZ")), self.half)

    @cached_property
    def parts(self) -> tuple[Value, Value, Value]:
        """The place as three numbers."""
        return self.nodes.separate(self.place)

    def moved(self, vector: Value, at: tuple[float, ...], turn: tuple[float, ...], size: float) -> Value:
        """Coordinates in a frame `at` a place, turned by Euler angles, whose unit is `size` long."""
        inputs = {"Vector": vector, "Location": at, "Rotation": turn, "Scale": (size, size, size)}
        return self.nodes.add("ShaderNodeMapping", inputs, vector_type="TEXTURE").outputs[0]

    def shift(self, stream: int) -> tuple[float, float, float]:
        """Where in its noise the flaw is; another stream, another pattern."""
        a, b = self.spec.seed * 17.17 + stream * 31.7, self.spec.seed * 29.71 + stream * 13.3
        return (a % 397, b % 397, 0.0)

    def cells(self, size: float, stretch: float = 1.0, stream: int = 0, at: Value | None = None) -> Value:
        """The place counted in cells of `size`, drawn out along x; z does not matter."""
        per = (1 / (size * stretch), 1 / size, 0.0)
        return self.nodes.vector("MULTIPLY_ADD", self.place if at is None else at, per, self.shift(stream))

    def noise(self, cells: Value, detail: float = 3.0, rough: float = 0.5, output: str = "Fac") -> Value:
        """Noise on the flaw's plane, about 0.5; output "Color": three of them."""
        inputs = {"Vector": cells, "Scale": 1.0, "Detail": detail, "Roughness": rough}
        return self.nodes.add("ShaderNodeTexNoise", inputs, noise_dimensions="2D").outputs[output]

    def smooth(self, value: Value, low: Value, high: Value) -> Value:
        """0 below low, 1 above high, between them smooth."""
        inputs = {"Value": value, "From Min": low, "From Max": high}
        return self.nodes.add("ShaderNodeMapRange", inputs, interpolation_type="SMOOTHSTEP").outputs[0]

    def above(self, value: Value, limit: Value = 0.0) -> Value:
        """1 where the value is greater than the limit, else 0."""
        return self.nodes.maths("GREATER_THAN", value, limit)

    def oval(self, at: Value | None = None) -> Value:
        """Edge measure of the ragged ellipse that the flaw lies in, here or at another place."""
        n, wander = self.nodes, self.number("wander")
        where = self.place if at is None else at
        radius = n.vector("LENGTH", n.vector("MULTIPLY", where, (1.0, 1 / self.aspect, 0.0)))
        if wander == 0:
            return n.maths("SUBTRACT", 1.0, radius)
        # A smooth border has no crumbs: they would show as such in the relief.
        lumps = self.noise(self.cells(self.number("lump"), stream=1, at=where), detail=min(3.0, 6 * wander))
        # Where noise is high the border reaches the ellipse, so the whole keeps within its size.
        gain = 0.4 * wander / SWING
        inward = n.maths("MULTIPLY_ADD", lumps, gain, 1 - gain * (0.5 + SWING))
        return n.maths("SUBTRACT", inward, radius)
