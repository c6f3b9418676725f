"""Training speed of al-loop and of mmdet's own Runner: the same model, weights and files, in one run.

    .venv/bin/python benchmarks/training.py --data COCO.json [--config lite] [--images 24] [--repeats 5]
        [--longer 1] [--epochs 3] [--malloc system]

  mmdet          as its tools/train.py: Runner.from_cfg, its pipeline (read, resize, flip), 2 decoding
                 processes; and with none, which is faster on two cores
  al-loop        al_loop.detector.training.train.train with all default augmentations, precision = "fp32"
  al-loop bf16   the same with precision = "bf16"

They take turns and start from the same weights. The time is that of the steps after the first epoch, with
loading, optimiser and hooks, without validation; both store a checkpoint only after the last step. A ratio is
of one turn. mmdet runs in a separate process with the system's memory allocation. al-loop tells glibc to keep
memory (al_loop/detector/allocator.py), but not with --malloc system.

--longer: side of the photographs on disk, as a multiple of the model's.
With a GPU both run there, mmdet without AMP.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

# As in al_loop.detector, which is imported after torch here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np
import torch
from measuring import class_names, print_profile, ratios, separate_process, spread
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from plain_mmdet import BATCH, MmdetTraining, plain, train_with_mmdet
from torch.profiler import ProfilerActivity, profile

from al_loop.core.training_config import TrainConfig
from al_loop.detector.checkpoint import Weights, read_weights, write_weights
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.device import default_workers
from al_loop.detector.training.job import RunSettings, TrainingJob
from al_loop.detector.training.train import train
from al_loop.detector.transforms import read_picture
from al_loop.images.coco import read_coco, write_coco
from al_loop.structures.images import ImageFile, LabelledImage


@HOOKS.register_module()
class Stamps(Hook):  # type: ignore[misc]
    """Record the time at the end of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def after_train_iter(self, runner: Any, *_: object, **__: object) -> None:
        self()

    def per_second(self, epoch: int) -> float:
        """Return images per second after the first epoch, which has `epoch` steps."""
        return BATCH * (len(self.times) - epoch) / (self.times[-1] - self.times[epoch - 1])


def labelled(file: Path, count: int, size: tuple[int, int], longer: int, folder: Path) -> list[LabelledImage]:
    """Return photographs with boxes, as JPEGs of a multiple of the model's size."""
    width, height = size[0] * longer, size[1] * longer
    images = []
    for number, image in enumerate(read_coco(file, class_names(file)).images[:count]):
        path = folder / f"{number:04}.jpg"
        cv2.imwrite(str(path), cv2.resize(read_picture(image.path), (width, height)))
        scale = np.array([width / image.width, height / image.height] * 2)
        boxes = replace(image.boxes, xyxy=image.boxes.xyxy * scale)
        images.append(LabelledImage(ImageFile(str(number), path, width, height), boxes))
    return images


@dataclass(frozen=True)
class Spec:
    """Options of the benchmark. folder: of photographs and output. size: in place of the config's."""

    data: Path
    config: str
    images: int
    epochs: int
    longer: int
    folder: Path
    size: tuple[int, int] | None = None

    @property
    def start(self) -> Path:
        """The initial weights of all."""
        return self.folder / "start.pth"

    @property
    def coco(self) -> Path:
        """The COCO file of the photographs, for mmdet."""
        return self.folder / "all.json"


@cache
def prepared(spec: Spec) -> tuple[Config, list[LabelledImage], Weights]:
    """Return config, photographs and initial weights, computed once."""
    config = load_model_config(spec.config, class_names(spec.data), spec.size)
    (spec.folder / "photographs").mkdir(exist_ok=True)
    images = labelled(
        spec.data, spec.images, tuple(config.image_size), spec.longer, spec.folder / "photographs"
    )
    if not spec.start.exists():
        torch.manual_seed(0)
        write_weights(spec.start, build_model(config).state_dict())
        write_coco(spec.coco, images, config.classes)
    return config, images, read_weights(spec.start)


def train_by_mmdet(spec: Spec, config: Config, work: Path, workers: int, epoch: int) -> Stamps:
    """Train with mmdet's Runner. epoch: number of steps in an epoch."""
    changes, steps = plain(tuple(config.image_size)), spec.epochs * epoch
    hooks = ({"type": "Stamps"},)
    job = MmdetTraining(config, spec.start, spec.coco, work, steps, changes, workers, hooks=hooks)
    runner = train_with_mmdet(job)
    return next(hook for hook in runner.hooks if isinstance(hook, Stamps))


def train_by_al_loop(spec: Spec, work: Path, precision: str) -> Stamps:
    """Train with al-loop's default augmentations."""
    config, images, start = prepared(spec)
    run = RunSettings(
        TrainConfig(epochs=spec.epochs, batch_size=BATCH, val_every=spec.epochs, patience=9),
        device="cuda" if torch.cuda.is_available() else "cpu",
        lr=float(config.optim_wrapper.optimizer.lr),
        workers=default_workers(),
        precision=precision,
    )
    stamps = Stamps()
    train(TrainingJob(config, start, images, images[:1], run, work), stamps)
    return stamps


def turn(spec: Spec, name: str, number: int) -> float:
    """Return the images per second of one of the trainings: "mmdet, N workers", with AMP, or al-loop's."""
    config, images, _ = prepared(spec)
    if name.endswith("AMP"):
        config = Config({**config, "optim_wrapper": {**config.optim_wrapper, "type": "AmpOptimWrapper"}})
    work, epoch = spec.folder / f"{number}-{name.replace(' ', '-')}", -(-len(images) // BATCH)
    if name.startswith("mmdet"):
        workers = int(name.split()[1])
        stamps = train_by_mmdet(spec, config, work, workers, epoch)
    else:
        stamps = train_by_al_loop(spec, work, "bf16" if name.endswith("bf16") else "fp32")
    return stamps.per_second(epoch)


def race(spec: Spec, repeats: int, malloc: str) -> None:
    """Run all of them in turns and print the ratios."""
    _, images, _ = prepared(spec)
    names = ["mmdet, 2 workers", "mmdet, 0 workers", "al-loop", "al-loop bf16"]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    with separate_process("system") as mmdet, separate_process(malloc) as al_loop:
        for number in range(repeats):
            for name in names:
                executor = mmdet if name.startswith("mmdet") else al_loop
                speeds[name].append(executor.submit(turn, spec, name, number).result())
    size = f"{images[0].image.width}x{images[0].image.height}"
    turns = f"{repeats} turns, {torch.get_num_threads()} threads"
    print(
        f"\n{spec.config}: {len(images)} JPEGs of {size}, batches of {BATCH}, {spec.epochs} epochs, {turns}"
    )
    for name, each in speeds.items():
        print(f"{name:<18} {np.median(each):7.2f} images/s")
    best = max(names[:2], key=lambda name: np.median(speeds[name]))
    for first, second in (("al-loop", best), ("al-loop bf16", best), ("al-loop bf16", "al-loop")):
        print(f"{first} / {second}: {spread(ratios(speeds[first], speeds[second]))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", default="lite")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--longer", type=int, default=1)
    parser.add_argument(
        "--malloc", choices=("", "system"), default="", help="Memory allocation of al-loop's process."
    )
    parser.add_argument(
        "--profile", action="store_true", help="Print a profile of al-loop's training instead."
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        spec = Spec(args.data, args.config, args.images, args.epochs, args.longer, Path(name))
        if not args.profile:
            race(spec, args.repeats, args.malloc)
            return
        train_by_al_loop(spec, spec.folder / "warm", None)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            train_by_al_loop(spec, spec.folder / "profiled", None)
        print_profile(profiled)


if __name__ == "__main__":
    main()
