"""How mesh files come to lie: chances by drops of rigid bodies, beside those of the hull's solid angles.

    .venv/bin/python benchmarks/resting.py MESHES...

For every mesh file: seconds its import took, of them those of the drops; poses and their chances both ways (the
likeliest first); and how far apart the two are (total variation distance: 0 the same, 1 nothing in common). Two
samples of 240 drops of one body differ by about the last figure, its standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

from render.assets.meshfiles import MeshSource, load_meshes
from render.core.errors import AssetError
from render.geometry.resting_poses import centre_of_mass, resting
from render.shapes.kernels.surface import Rest


def ups(rests: tuple[Rest, ...]) -> np.ndarray:
    """(n, 3) the directions that point up in each pose."""
    return np.array([np.reshape(rest.rotation, (3, 3))[2] for rest in rests])


def apart(a: tuple[Rest, ...], b: tuple[Rest, ...]) -> float:
    """Total variation distance of two sets of poses; poses within 10 degrees are the same."""
    left, difference = [rest.weight for rest in b], 0.0
    for rest, up in zip(a, ups(a), strict=True):
        near = np.flatnonzero(ups(b) @ up > np.cos(np.radians(10)))
        there = sum(left[i] for i in near)
        for i in near:
            left[i] = 0.0
        difference += abs(rest.weight - there)
    return (difference + sum(left)) / 2


def said(rests: tuple[Rest, ...]) -> str:
    """The chances of the likeliest poses."""
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
            seconds = time.perf_counter() - began
            if isinstance(mesh, AssetError):
                print(f"{file.name}: {mesh}")
                continue
            surface = mesh.surface()
            by_angles = resting(surface.vertices, centre_of_mass(surface.vertices, surface.triangles))
            distances.append(apart(by_angles, mesh.rests))
            print(
                f"{file.stem[:24]:24} {seconds:5.1f} s  drops {said(mesh.rests):26} angles {said(by_angles):26} "
                f"apart {distances[-1]:.2f}"
            )
        print(
            f"mean distance {np.mean(distances):.2f}; standard error of a chance of one half {0.5 / 240**0.5:.2f}"
        )


if __name__ == "__main__":
    main()
