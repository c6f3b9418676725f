"""Seconds and memory of grouping the near-duplicates of a large pool, by fingerprints that are known.

    .venv/bin/python benchmarks/near_duplicates.py [--images 1000000] [--alike 5]

The fingerprints are synthetic: groups of `alike` images that differ in at most 4 bits, in random order.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from al_loop.structures.fingerprints import Fingerprints


def synthetic(images: int, alike: int) -> Fingerprints:
    """Return fingerprints of groups of near-duplicates."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.integers(0, 2**64, -(-images // alike), dtype=np.uint64), alike)[:images]
    for _ in range(2):  # two images of a group then differ in at most four bits
        values ^= np.uint64(1) << rng.integers(0, 64, images).astype(np.uint64)
    return Fingerprints(rng.permutation(values), np.ones(images, dtype=bool))


def main() -> None:
    """Print the time and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--alike", type=int, default=5)
    args = parser.parse_args()
    fingerprints = synthetic(args.images, args.alike)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    groups = fingerprints.groups()
    seconds = time.monotonic() - began
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{args.images} images, {len(groups)} groups: {seconds:.1f} s, {added:.0f} MiB more")


if __name__ == "__main__":
    main()
