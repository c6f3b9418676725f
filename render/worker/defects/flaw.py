"""Coordinates, noise and area of a flaw in a shader tree.

Coordinates are in half lengths of the flaw: x along it from -1 to 1, y across it from -aspect to aspect, z
outward.
"""

from __future__ import annotations

from functools import cached_property

import mathutils

from render.core.spec import DefectSpec
from render.geometry.transforms import matrix
from render.recipe.outlines import parameters
from render.worker.materials.nodes import Nodes, Value

#: Noise of several octaves lies within 0.5 +- this.
SWING = 0.25


class Flaw:
    """Node builder for one DefectSpec. Lengths are in the object's own units.

    half: half the length.
    aspect: width over length.
    pixel: length that a pixel of the nearest camera covers, in half lengths; 0 if unknown.
    turn: (3, 3) rotation from the flaw's frame to the object's.
    """

    def __init__(self, nodes: Nodes, spec: DefectSpec) -> None:
        """Compute the frame; nodes are added on first use."""
        self.nodes, self.spec = nodes, spec
        self.half = spec.size_m[0] / 2
        self.aspect = spec.size_m[1] / spec.size_m[0]
        self.pixel = self.number("pixel") / self.half
        axes, at = matrix(spec.frame)
        self.turn, self._at = mathutils.Matrix(axes.tolist()), tuple(at.tolist())

    def number(self, name: str) -> float:
        """Return a parameter of the outline, or its default."""
        known = parameters(self.spec.outline)
        return self.spec.numbers.get(name, known[name].default if name in known else 0.0)

    @cached_property
    def place(self) -> Value:
        """Coordinates in the flaw's frame, as a vector."""
        coordinates = self.nodes.add("ShaderNodeTexCoord").outputs["Object"]
        return self.moved(coordinates, self._at, tuple(self.turn.to_euler("XYZ")), self.half)

    @cached_property
    def parts(self) -> tuple[Value, Value, Value]:
        """Coordinates in the flaw's frame, as three numbers."""
        return self.nodes.separate(self.place)

    def moved(self, vector: Value, at: tuple[float, ...], turn: tuple[float, ...], size: float) -> Value:
        """Return coordinates in a frame with origin `at`, Euler angles `turn` and unit `size`."""
        inputs = {"Vector": vector, "Location": at, "Rotation": turn, "Scale": (size, size, size)}
        return self.nodes.add("ShaderNodeMapping", inputs, vector_type="TEXTURE").outputs[0]

    def shift(self, stream: int) -> tuple[float, float, float]:
        """Return an offset in the noise; each stream gives another pattern."""
        a, b = self.spec.seed * 17.17 + stream * 31.7, self.spec.seed * 29.71 + stream * 13.3
        return (a % 397, b % 397, 0.0)

    def cells(self, size: float, stretch: float = 1.0, stream: int = 0, at: Value | None = None) -> Value:
        """Return coordinates in noise cells of `size`, stretched along x; z is 0."""
        per = (1 / (size * stretch), 1 / size, 0.0)
        return self.nodes.vector("MULTIPLY_ADD", self.place if at is None else at, per, self.shift(stream))

    def noise(self, cells: Value, detail: float = 3.0, rough: float = 0.5, output: str = "Fac") -> Value:
        """Return noise around 0.5 on the flaw's plane; with output "Color", three channels."""
        inputs = {"Vector": cells, "Scale": 1.0, "Detail": detail, "Roughness": rough}
        return self.nodes.add("ShaderNodeTexNoise", inputs, noise_dimensions="2D").outputs[output]

    def smooth(self, value: Value, low: Value, high: Value) -> Value:
        """Return a smooth step: 0 below low, 1 above high."""
        inputs = {"Value": value, "From Min": low, "From Max": high}
        return self.nodes.add("ShaderNodeMapRange", inputs, interpolation_type="SMOOTHSTEP").outputs[0]

    def above(self, value: Value, limit: Value = 0.0) -> Value:
        """Return 1 where the value is greater than the limit, else 0."""
        return self.nodes.maths("GREATER_THAN", value, limit)

    def oval(self, at: Value | None = None) -> Value:
        """Return the edge measure of the ragged ellipse around the flaw, at `at` or at the shaded point."""
        n, wander = self.nodes, self.number("wander")
        where = self.place if at is None else at
        radius = n.vector("LENGTH", n.vector("MULTIPLY", where, (1.0, 1 / self.aspect, 0.0)))
        if wander == 0:
            return n.maths("SUBTRACT", 1.0, radius)
        # Fewer octaves on a smooth border: fine noise would show in the relief.
        lumps = self.noise(self.cells(self.number("lump"), stream=1, at=where), detail=min(3.0, 6 * wander))
        # The border reaches the ellipse where the noise is highest, so the flaw keeps within its size.
        gain = 0.4 * wander / SWING
        inward = n.maths("MULTIPLY_ADD", lumps, gain, 1 - gain * (0.5 + SWING))
        return n.maths("SUBTRACT", inward, radius)
