"""Images per second of scoring a pool, and its ratio to the bare forward pass, in one run.

    .venv/bin/python benchmarks/scoring.py WORKSPACE [--images 100] [--repeats 3]

Scoring decodes, resizes, runs the model, keeps whole distributions and pooled features, and writes
shards; the bare pass runs the same model on tensors that are in memory already. Interleaved repeats.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from al_loop.detector.predict import Detector, _sample
from al_loop.detector.score import ScoreSettings, score_images
from al_loop.detector.transforms import fit, read_picture
from al_loop.library import images_by_id
from al_loop.modelling import default_workers, load_detector
from al_loop.models import current_model
from al_loop.samples import ImageFile
from al_loop.shards import ShardStore
from al_loop.workspace import open_workspace


def bare_pass(detector: Detector, batches: list[tuple[list[torch.Tensor], list[object]]]) -> None:
    with torch.inference_mode():
        for inputs, samples in batches:
            data = detector.model.data_preprocessor({"inputs": inputs, "data_samples": samples}, False)
            detector.model.predict(data["inputs"], samples)


def preload(
    detector: Detector, images: list[ImageFile], size: int
) -> list[tuple[list[torch.Tensor], list[object]]]:
    box, enlarge = tuple(detector.config.image_size), bool(detector.config.enlarge)
    items = []
    for image in images:
        picture = fit(read_picture(image.path), box, enlarge)
        tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        items.append((tensor, _sample(image, *picture.shape[:2])))
    items.sort(key=lambda item: item[0].shape)
    parts = [items[i : i + size] for i in range(0, len(items), size)]
    return [([t for t, _ in part], [s for _, s in part]) for part in parts]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    workspace = open_workspace(args.workspace)
    ids = [
        row["id"] for row in workspace.store.rows("SELECT id FROM images ORDER BY id LIMIT ?", args.images)
    ]
    images = images_by_id(workspace, ids)
    detector = load_detector(workspace, current_model(workspace))
    score = workspace.config.score
    settings = ScoreSettings(score.score_thr, score.batch_size, default_workers(), score.shard_size)
    batches = preload(detector, images, score.batch_size)
    ours, bare = [], []
    for repeat in range(args.repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            score_images(detector, images, ShardStore(Path(folder)), settings)
            middle = time.perf_counter()
        bare_began = time.perf_counter()
        bare_pass(detector, batches)
        if repeat:  # the first round warms up
            ours.append(len(images) / (middle - began))
            bare.append(len(images) / (time.perf_counter() - bare_began))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    print(
        f"{len(images)} images, model size {tuple(detector.config.image_size)}, batch {score.batch_size}, {detector.device}"
    )
    for name, values in (("scoring", ours), ("bare forward pass", bare)):
        print(
            f"{name:<18} {statistics.median(values):6.1f} images/s  ({min(values):.1f} to {max(values):.1f})"
        )
    print(
        f"{'ratio':<18} {statistics.median(ratios):6.2f}           ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
