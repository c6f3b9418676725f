"""Seconds of a paired bootstrap of two models' AP, beside pycocotools computing it once, in one run.

    .venv/bin/python benchmarks/bootstrap.py [--images 1000] [--classes 6] [--boxes 6] [--resamples 1000]

Made-up boxes: as many predictions as true boxes near these, and half as many elsewhere. One thread.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys

# A script's folder comes first on the path, and it holds modules with names of the project's.
sys.path.remove(str(Path(__file__).parent))

import numpy as np

from al_loop.evaluation.bootstrap import compare
from al_loop.evaluation.evaluate import evaluate, match
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage


def scattered(rng: np.random.Generator, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of all sizes, and their classes."""
    low, side = rng.uniform(0, 500, (count, 2)), rng.uniform(10, 140, (count, 2))
    return np.concatenate([low, low + side], axis=1), rng.integers(0, classes, count)


def predicted(rng: np.random.Generator, truth: Boxes, classes: int, error_px: float) -> Boxes:
    """A detector's boxes: near the true ones, and half as many where nothing is."""
    extra, labels = scattered(rng, len(truth) // 2, classes)
    near = truth.xyxy + rng.normal(0, error_px, truth.xyxy.shape)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    every = np.concatenate([near, extra])
    return Boxes(every, np.concatenate([truth.labels, labels]), rng.uniform(0.05, 1, len(every)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--boxes", type=int, default=6, help="mean number on an image")
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
    once = time.perf_counter()
    matches = [match(truth, model, names) for model in models]
    matched = time.perf_counter()
    found = compare(matches[0], matches[1], names, resamples=args.resamples)
    ended = time.perf_counter()
    print(
        f"{args.images} images, {args.classes} classes, {sum(len(m.image) for m in matches[0])} predictions a model"
    )
    print(
        f"pycocotools, both models once: {once - began:.2f} s; AP {metrics[0].ap:.4f} and {metrics[1].ap:.4f}"
    )
    print(
        f"matches, once and for all: {matched - once:.2f} s; {args.resamples} paired resamples: {ended - matched:.2f} s"
    )
    print(
        f"difference {found.ap}; of pycocotools {metrics[0].ap - metrics[1].ap:+.6f}, ours {found.ap.value:+.6f}"
    )
    each = (ended - matched) / args.resamples
    print(f"a resample takes {each / (once - began):.4f} of pycocotools' time for it")


if __name__ == "__main__":
    main()
