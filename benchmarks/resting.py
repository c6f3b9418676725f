"""Resting poses of mesh files: probabilities by drops of rigid bodies, and by the hull's solid angles.

    .venv/bin/python benchmarks/resting.py MESHES...

For each mesh it prints the seconds of its import, the probabilities of its poses both ways, the likeliest
first, and their difference (total variation distance: 0 the same, 1 nothing in common). Two samples of 240
drops of one body differ by about the last figure, the standard error.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from render.assets.meshfiles import MeshSource, load_meshes
from render.core.errors import AssetError
from render.geometry.resting_poses import centre_of_mass, resting
from render.shapes.kernels.surface import Rest


def up_directions(rests: tuple[Rest, ...]) -> np.ndarray:
    """Return the directions (n, 3) that point up in each pose."""
    return np.array([np.reshape(rest.rotation, (3, 3))[2] for rest in rests])


def difference(a: tuple[Rest, ...], b: tuple[Rest, ...]) -> float:
    """Return the total variation distance of two sets of poses; poses within 10 degrees are the same."""
    left, total = [rest.weight for rest in b], 0.0
    for rest, up in zip(a, up_directions(a), strict=True):
        near = np.flatnonzero(up_directions(b) @ up > np.cos(np.radians(10)))
        total += abs(rest.weight - sum(left[i] for i in near))
        for i in near:
            left[i] = 0.0
    return (total + sum(left)) / 2


def likeliest(rests: tuple[Rest, ...]) -> str:
    """Return the largest probabilities as text."""
    return " ".join(f"{rest.weight:.2f}" for rest in rests[:5])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meshes", type=Path, nargs="+")
    files = parser.parse_args().meshes
    with tempfile.TemporaryDirectory() as cache:
        os.environ["AL_LOOP_MESH_CACHE"] = cache
        distances = []
        for file in files:
            began = time.perf_counter()
            (mesh,) = load_meshes([MeshSource("meshes", file)], None)
            took = time.perf_counter() - began
            if isinstance(mesh, AssetError):
                print(f"{file.name}: {mesh}")
                continue
            surface = mesh.surface()
            by_angles = resting(surface.vertices, centre_of_mass(surface.vertices, surface.triangles))
            distances.append(difference(by_angles, mesh.rests))
            both = f"drops {likeliest(mesh.rests):26} angles {likeliest(by_angles):26}"
            print(f"{file.stem[:24]:24} {took:5.1f} s  {both} difference {distances[-1]:.2f}")
        error = 0.5 / 240**0.5
        print(f"mean {np.mean(distances):.2f}; standard error of a probability of one half {error:.2f}")


if __name__ == "__main__":
    main()
