"""Speed and peak memory on a GPU, in one call: scoring and training by al-loop and by MMDetection.

    .venv/bin/python benchmarks/gpu.py [--models lite,r50] [--photographs FOLDER] [--images 256] [--repeats 3]
    .venv/bin/python benchmarks/gpu.py --device cpu --size 160 --images 8 --repeats 1

  scoring    files to detections: mmdet's DetInferencer at its best batch size, al-loop's scoring in fp32 and
             bf16; and the forward pass alone on images in memory, "bare", mmdet's and al-loop's
  training   mmengine's Runner with mmdet's pipeline, on CUDA also with AMP; al-loop's with all default
             augmentations, in fp32 and bf16. Both have as many decoding processes

The weights are random, and the images too unless a folder of JPEGs is given. Each side has a process of its
own for each model. The sides run alternately; the numbers are medians. The ratio is to the first line of a
group, in training to the faster Runner. Memory is the growth of GPU memory during a call, on the CPU that of
the process: of a training with its weights, of scoring beyond those of the model.
With few small images, as in the second example, fixed costs dominate: it only shows that the script runs.
`benchmarks/scoring.py` and `benchmarks/training.py` compare more variants, with intervals.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import scoring
import torch
import training
from measuring import PeakMemory, separate_process

from al_loop.detector.device import default_workers
from al_loop.detector.transforms import read_picture
from al_loop.images.coco import write_coco
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

CLASSES = tuple("abcdef")
SCORING = {
    "al-loop scoring fp32": "scoring fp32",
    "al-loop scoring bf16": "scoring bf16",
    "bare mmdet fp32": "bare mmdet fp32",
    "bare mmdet bf16": "bare mmdet bf16",
    "bare al-loop fp32": "bare al-loop fp32",
    "bare al-loop bf16": "bare al-loop bf16",
}


class Measured(NamedTuple):
    """Images per second, and the growth of memory in MiB."""

    speed: float
    memory: float


def measured(speed: Callable[[], float], turn: int) -> Measured:
    """Return the result of a call that returns images per second, with its peak memory.

    turn: 0 if the speed does not count. Only then is memory that earlier calls have freed returned to the
        system, so that it counts.
    """
    if not torch.cuda.is_available():
        if turn == 0:
            ctypes.CDLL(None).malloc_trim(0)
        with PeakMemory() as memory:
            result = speed()
        return Measured(result, memory.total)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = speed()
    return Measured(result, (torch.cuda.max_memory_allocated() - before) / 2**20)


def score_once(spec: scoring.BenchmarkSpec, name: str, number: int) -> Measured:
    """Score all images by one of `scoring.contenders`."""
    run = scoring.contenders(spec)[name]
    return measured(lambda: len(spec.paths) / scoring.timed(run), number)


def train_once(spec: training.Spec, name: str, number: int) -> Measured:
    """Train by one of the names of `training.turn`."""
    return measured(lambda: training.turn(spec, name, number), number)


def race(run: Callable[[str, int], Measured], names: Mapping[str, str], repeats: int) -> dict[str, Measured]:
    """Run everything alternately. Return the median speed and the largest memory by the shown name.

    The speed of turn 0, which warms up, does not count.
    """
    turns: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(repeats + 1):
        for shown, name in names.items():
            turns[shown].append(run(name, number))
    return {
        shown: Measured(float(np.median([m.speed for m in each[1:]])), max(m.memory for m in each))
        for shown, each in turns.items()
    }


def race_scoring(spec: scoring.BenchmarkSpec, repeats: int) -> dict[str, Measured]:
    """Return the speed of scoring; first that of mmdet's inferencer at its best batch size."""
    with separate_process("system") as mmdet, separate_process("") as al_loop:

        def run(name: str, number: int) -> Measured:
            executor = mmdet if "inferencer" in name or "mmdet" in name else al_loop
            return executor.submit(score_once, spec, name, number).result()

        # Each twice, as the first call warms up.
        best = max(scoring.inferencers(spec), key=lambda name: max(run(name, 0).speed for _ in range(2)))
        return race(run, {f"mmdet {best}": best} | SCORING, repeats)


def race_training(spec: training.Spec, repeats: int) -> dict[str, Measured]:
    """Return the speed of training, the faster Runner first."""
    runner = f"mmdet, {default_workers()} workers"
    names = {"mmdet Runner": runner, "al-loop training": "al-loop", "al-loop training bf16": "al-loop bf16"}
    if torch.cuda.is_available():
        names["mmdet Runner AMP"] = f"{runner} AMP"
    with separate_process("system") as mmdet, separate_process("") as al_loop:

        def run(name: str, number: int) -> Measured:
            executor = mmdet if name.startswith("mmdet") else al_loop
            return executor.submit(train_once, spec, name, number).result()

        speeds = race(run, names, repeats)
    return dict(sorted(speeds.items(), key=lambda pair: (not pair[0].startswith("mmdet"), -pair[1].speed)))


def labelled_set(folder: Path, photographs: Path | None, count: int, side: int) -> Path:
    """Write images with 4 random boxes each, and return their COCO file.

    side: of the random images, px.
    """
    rng = np.random.default_rng(0)
    files = sorted(photographs.glob("*.jp*g"))[:count] if photographs else []
    if photographs and not files:
        raise SystemExit(f"--photographs {photographs}: expected a folder of JPEG files, got none")
    images = []
    for number in range(len(files) or count):
        path = folder / f"{number:04}.jpg"
        if files:
            picture = read_picture(files[number])
        else:  # coarse noise: a JPEG of about the size of a photograph's
            coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
            picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), picture)
        height, width = picture.shape[:2]
        corners = rng.uniform(0, 0.8, (4, 2)) * (width, height)
        boxes = Boxes(np.hstack([corners, corners + 0.15 * min(width, height)]), rng.integers(0, 6, 4))
        images.append(LabelledImage(ImageFile(str(number), path, width, height), boxes))
    write_coco(folder / "all.json", images, CLASSES)
    return folder / "all.json"


def print_group(title: str, results: Mapping[str, Measured]) -> None:
    """Print a group of the table."""
    print(f"\n{title}\n{'':<32} images/s   ratio   peak MiB")
    first = next(iter(results.values()))
    for name, result in results.items():
        ratio = result.speed / first.speed
        print(f"  {name:<30} {result.speed:8.2f}  {ratio:6.2f}  {result.memory:9.0f}", flush=True)


def compare(model: str, data: Path, size: tuple[int, int] | None, args: argparse.Namespace) -> None:
    """Print the tables of one model."""
    with tempfile.TemporaryDirectory() as name:
        epochs = 3  # the first one warms up
        training_spec = training.Spec(data, model, args.images, epochs, 1, Path(name), size)
        config, images, _ = training.prepared(training_spec)
        paths = tuple(item.image.path for item in images)
        scoring_spec = scoring.BenchmarkSpec(None, model, paths, size, args.batch)
        shape = f"{model}, {len(images)} JPEGs of {'x'.join(map(str, config.image_size))} px"
        print_group(f"{shape}, scoring", race_scoring(scoring_spec, args.repeats))
        title = f"{shape}, training in batches of {training.BATCH}"
        print_group(title, race_training(training_spec, args.repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="lite,r50", help="Model configs, with commas between.")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--size", type=int, help="Side of the images, px, in place of the model's.")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32, help="Images of a forward pass in scoring.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photographs", type=Path, help="Folder of JPEGs in place of random images.")
    args = parser.parse_args()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also for the processes
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{gpu}, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.repeats} turns")
    size = (args.size, args.size) if args.size else None
    with tempfile.TemporaryDirectory() as name:
        data = labelled_set(Path(name), args.photographs, args.images, args.size or 640)
        for model in args.models.split(","):
            compare(model, data, size, args)


if __name__ == "__main__":
    main()
