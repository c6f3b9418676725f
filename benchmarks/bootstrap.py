"""Time of a paired bootstrap of two models' AP, compared with one evaluation by pycocotools.

    .venv/bin/python benchmarks/bootstrap.py [--images 1000] [--classes 6] [--boxes 6] [--resamples 1000]

The boxes are synthetic: as many predictions near the true boxes as there are, and half as many elsewhere.
One thread.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from al_loop.evaluation.bootstrap import compare
from al_loop.evaluation.evaluate import evaluate, match
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage


def scattered(rng: np.random.Generator, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes of all sizes, and their classes."""
    low, side = rng.uniform(0, 500, (count, 2)), rng.uniform(10, 140, (count, 2))
    return np.concatenate([low, low + side], axis=1), rng.integers(0, classes, count)


def predicted(rng: np.random.Generator, truth: Boxes, classes: int, error_px: float) -> Boxes:
    """Return a detector's boxes: near the true ones, and half as many elsewhere."""
    extra, labels = scattered(rng, len(truth) // 2, classes)
    near = truth.xyxy + rng.normal(0, error_px, truth.xyxy.shape)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    xyxy = np.concatenate([near, extra])
    return Boxes(xyxy, np.concatenate([truth.labels, labels]), rng.uniform(0.05, 1, len(xyxy)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--boxes", type=int, default=6, help="Mean number of boxes per image.")
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args()
    rng, names = np.random.default_rng(0), [f"class {i}" for i in range(args.classes)]
    truth = [
        LabelledImage(
            ImageFile(f"{n:06d}", Path("x"), 640, 640),
            Boxes(*scattered(rng, rng.poisson(args.boxes), args.classes)),
        )
        for n in range(args.images)
    ]
    models = [{i.image.id: predicted(rng, i.boxes, args.classes, px) for i in truth} for px in (4.0, 4.5)]
    began = time.perf_counter()
    metrics = [evaluate(truth, model, names) for model in models]
    evaluated = time.perf_counter()
    matches = [match(truth, model, names) for model in models]
    matched = time.perf_counter()
    difference = compare(matches[0], matches[1], names, resamples=args.resamples).ap
    ended = time.perf_counter()
    predictions = sum(len(m.image) for m in matches[0])
    print(f"{args.images} images, {args.classes} classes, {predictions} predictions per model")
    aps = f"AP {metrics[0].ap:.4f} and {metrics[1].ap:.4f}"
    print(f"pycocotools, both models once: {evaluated - began:.2f} s; {aps}")
    print(f"matches, computed once: {matched - evaluated:.2f} s")
    print(f"{args.resamples} paired resamples: {ended - matched:.2f} s")
    print(f"difference {difference}; by pycocotools {metrics[0].ap - metrics[1].ap:+.6f}")
    each = (ended - matched) / args.resamples
    print(f"a resample takes {each / (evaluated - began):.4f} times as long as pycocotools")


if __name__ == "__main__":
    main()
